// How the rows of a neighbour search are shared between groups.
#pragma once

#include "kernels/device/graph.h"
#include "kernels/device/read_numbers.h"

namespace distmlip::kernels {

/// Plain pointers to what the search reads and writes.
struct SearchView {
  Grid grid;
  EdgeRule rule;
  const int64_t* begin;
  const Point* points;
  const int32_t *order, *slot;
  const uint32_t* bin;
  const uint16_t* shift_code;
  const int32_t* receivers;    // (n_rows) ordinals, ascending; null: all ordinals
  const int32_t* first_row;    // (n_tasks + 1)
  const int64_t* block_begin;  // (n_tasks + 1)
  int32_t* block_slot;         // (n_blocks)
  uint32_t* masks;
  uint8_t* open;  // (n_blocks) whether float32 cannot tell for some pair

  DISTMLIP_DEVICE int32_t receiver(int64_t row) const {
    return receivers ? receivers[row] : static_cast<int32_t>(row);
  }
};

inline SearchView view_of(const SortedAtoms& sorted, const EdgeRule& rule, const int32_t* receivers,
                          const EdgeMasks& masks) {
  SearchView view{};
  view.grid = sorted.grid;
  view.rule = rule;
  view.begin = sorted.begin.data();
  view.points = sorted.points.data();
  view.order = sorted.order.data();
  view.slot = sorted.slot.data();
  view.bin = sorted.bin.data();
  view.shift_code = sorted.shift_code.data();
  view.receivers = receivers;
  view.first_row = masks.first_row.data();
  view.block_begin = masks.block_begin.data();
  view.block_slot = masks.block_slot.data();
  view.masks = masks.masks.data();
  return view;
}

/// Where the mask of the first block and row of a task stands; the next blocks follow, then the next row.
DISTMLIP_DEVICE inline int64_t first_mask(const int64_t* block_begin, int64_t task) {
  return block_begin[task] * rows_per_task;
}

/// visit(first slot, end) for each run of bins within reach of the atoms of a task.
template <class Visit>
DISTMLIP_DEVICE inline void for_each_run(const SearchView& view, int64_t task, Visit visit) {
  const Grid& grid = view.grid;
  const auto row_stride = static_cast<int32_t>(grid.row_stride());
  const auto plane_stride = static_cast<int32_t>(grid.plane_stride());
  const auto bin = static_cast<int32_t>(view.bin[view.receiver(view.first_row[task])]);
  const int32_t along_x = grid.axes[0].layers;
  for (int32_t z = -grid.axes[2].layers; z <= grid.axes[2].layers; ++z) {
    for (int32_t y = -grid.axes[1].layers; y <= grid.axes[1].layers; ++y) {
      const int64_t* middle = view.begin + (bin + z * plane_stride + y * row_stride);
      visit(static_cast<int32_t>(middle[-along_x]), static_cast<int32_t>(middle[along_x + 1]));
    }
  }
}

/// Splits rows into tasks: at most rows_per_task atoms, of one bin.
template <class Backend>
Array<int32_t> search_tasks(const Backend& backend, const SearchView& view, int64_t n_rows) {
  const auto is_first_array = backend.template array<int32_t>(n_rows);
  const auto place_array = backend.template array<int64_t>(n_rows + 1);
  int32_t* is_first = is_first_array.data();
  int64_t* place = place_array.data();
  const auto share = [=] DISTMLIP_DEVICE(int64_t row) {
    // Some atoms of a bin may belong to other partitions: only next to their borders.
    const int32_t ordinal = view.receiver(row);
    const int64_t begin = view.begin[view.bin[ordinal]];
    return begin + (view.slot[ordinal] - begin) / rows_per_task * rows_per_task;
  };
  backend.for_each(
      n_rows, [=] DISTMLIP_DEVICE(int64_t row) { is_first[row] = row == 0 || share(row) != share(row - 1); });
  const int64_t n_tasks = scan(backend, is_first, n_rows, place);
  const auto first_row_array = backend.template array<int32_t>(n_tasks + 1);
  int32_t* first_row = first_row_array.data();
  backend.for_each(n_rows + 1, [=] DISTMLIP_DEVICE(int64_t row) {
    if (row == n_rows || is_first[row]) first_row[place[row]] = static_cast<int32_t>(row);
  });
  return first_row_array;
}

/// Room for the blocks of every task.
template <class Backend>
void make_blocks(const Backend& backend, const SearchView& view, EdgeMasks& out) {
  const int64_t n_tasks = out.first_row.size - 1;
  const auto count_array = backend.template array<int32_t>(n_tasks);
  int32_t* count = count_array.data();
  backend.for_each(n_tasks, [=] DISTMLIP_DEVICE(int64_t task) {
    int32_t n_blocks = 0;
    for_each_run(view, task, [&](int32_t begin, int32_t end) {
      n_blocks += (end - begin + group_lanes - 1) / group_lanes;
    });
    count[task] = n_blocks;
  });
  out.block_begin = backend.template array<int64_t>(n_tasks + 1);
  const int64_t n_blocks = scan(backend, count, n_tasks, out.block_begin.data());
  out.block_slot = backend.template array<int32_t>(n_blocks);
  out.masks = backend.template array<uint32_t>(n_blocks * rows_per_task);
}

}  // namespace distmlip::kernels
