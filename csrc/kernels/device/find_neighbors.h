// The neighbour search on a device.
//
// A group takes up to eight atoms of one bin, whose coordinates stay in registers, and holds 32 candidates at
// a time against them: a candidate is loaded once for all of them, and no lane waits for another. What it
// finds it keeps as bits, one per pair: so distances are computed only once, although the length of every row
// has to be known before the first edge can be written to its place. A second loop turns bits into edges,
// with all lanes busy, straight into arrays of exactly the needed size.
#pragma once

#include "kernels/device/decide_edges.h"
#include "kernels/device/read_numbers.h"

namespace distmlip::kernels {

/// The atoms of one task; what stands for an absent one is never looked at.
struct Receivers {
  int32_t count;
  int32_t slot[rows_per_task];
  Point point[rows_per_task];
};

DISTMLIP_DEVICE inline Receivers receivers_of(const SearchView& view, int64_t task) {
  Receivers all;
  const int32_t first = view.first_row[task];
  all.count = view.first_row[task + 1] - first;
  DISTMLIP_UNROLL
  for (int r = 0; r < rows_per_task; ++r) {
    all.slot[r] = view.slot[view.receiver(r < all.count ? first + r : first)];
    all.point[r] = view.points[all.slot[r]];
  }
  return all;
}

/// What one lane keeps of 32 candidates.
struct Block {
  int32_t slot;  // the first of the candidates
  bool open;
  uint32_t mask[rows_per_task];
};

/// Finds the blocks of one task, by float32.
template <class Backend>
DISTMLIP_DEVICE inline void search_around(const typename Backend::Group& group, const SearchView& view,
                                          int64_t task) {
  const Receivers receivers = receivers_of(view, task);
  const int64_t begin = view.block_begin[task], n_blocks = view.block_begin[task + 1] - begin;
  typename Backend::template PerLane<Block> kept;
  int n_kept = 0;
  int64_t n_written = 0;
  const auto write_kept = [&] {
    group.each_lane([&](int lane) {
      if (lane >= n_kept) return;
      view.block_slot[begin + n_written + lane] = kept[lane].slot;
      view.open[begin + n_written + lane] = kept[lane].open;
      uint32_t* masks = view.masks + first_mask(view.block_begin, task) + n_written + lane;
      DISTMLIP_UNROLL
      for (int r = 0; r < rows_per_task; ++r) {
        if (r >= receivers.count) break;
        const auto own = static_cast<uint32_t>(receivers.slot[r] - kept[lane].slot);
        masks[r * n_blocks] = kept[lane].mask[r] & (own < group_lanes ? ~(1u << own) : ~0u);
      }
    });
    n_written += n_kept;
    n_kept = 0;
  };
  for_each_run(view, task, [&](int32_t run_begin, int32_t run_end) {
    for (int32_t first = run_begin; first < run_end; first += group_lanes) {
      typename Backend::template PerLane<Point> candidate;
      group.each_lane([&](int lane) {
        candidate[lane] = {HUGE_VALF, 0, 0, 0};
        if (lane < run_end - first) candidate[lane] = view.points[first + lane];
        if (lane == n_kept) kept[lane].slot = first;
      });
      uint32_t open = 0;
      DISTMLIP_UNROLL
      for (int r = 0; r < rows_per_task; ++r) {
        if (r >= receivers.count) break;
        typename Backend::template PerLane<float> squared;
        const uint32_t near = group.ballot([&](int lane) {
          squared[lane] = squared_distance(candidate[lane], receivers.point[r]);
          return squared[lane] < view.grid.outer;
        });
        open |= near ^ group.ballot([&](int lane) { return squared[lane] < view.grid.inner; });
        group.each_lane([&](int lane) {
          if (lane == n_kept) kept[lane].mask[r] = near;
        });
      }
      group.each_lane([&](int lane) {
        if (lane == n_kept) kept[lane].open = open != 0;
      });
      if (++n_kept == group_lanes) write_kept();
    }
  });
  write_kept();
}

template <class Backend>
EdgeMasks find_neighbors(const Backend& backend, const SortedAtoms& sorted, const EdgeRule& rule,
                         const int32_t* receivers, int64_t n_rows) {
  using Group = typename Backend::Group;
  EdgeMasks out;
  out.first_row = search_tasks(backend, view_of(sorted, rule, receivers, out), n_rows);
  make_blocks(backend, view_of(sorted, rule, receivers, out), out);
  const int64_t n_tasks = out.first_row.size - 1;
  const auto open_array = backend.template array<uint8_t>(out.block_slot.size);
  SearchView view = view_of(sorted, rule, receivers, out);
  view.open = open_array.data();
  backend.for_each_group(n_tasks, [=] DISTMLIP_DEVICE(const Group& group, int64_t task) {
    search_around<Backend>(group, view, task);
  });
  decide_open_blocks(backend, view, n_tasks);
  const auto length_array = backend.template array<int32_t>(n_rows);
  int32_t* lengths = length_array.data();
  backend.for_each(n_tasks * rows_per_task, [=] DISTMLIP_DEVICE(int64_t k) {
    const int64_t task = k / rows_per_task, r = k % rows_per_task;
    if (r >= view.first_row[task + 1] - view.first_row[task]) return;
    const int64_t n_blocks = view.block_begin[task + 1] - view.block_begin[task];
    const uint32_t* masks = view.masks + first_mask(view.block_begin, task) + r * n_blocks;
    int32_t length = 0;
    for (int64_t block = 0; block < n_blocks; ++block) length += count_bits(masks[block]);
    lengths[view.first_row[task] + r] = length;
  });
  out.row_begin = backend.template array<int64_t>(n_rows + 1);
  out.n_edges = scan(backend, lengths, n_rows, out.row_begin.data());
  return out;
}

}  // namespace distmlip::kernels
