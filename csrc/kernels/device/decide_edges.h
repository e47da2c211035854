// Pairs that float32 cannot tell from edges, decided in float64.
#pragma once

#include "kernels/device/search_tasks.h"

namespace distmlip::kernels {

/// The same expression wherever it is needed: a pair that float32 leaves open is found again by it.
DISTMLIP_DEVICE inline float squared_distance(const Point& a, const Point& b) {
  const float x = a.x - b.x, y = a.y - b.y, z = a.z - b.z;
  return multiply_add(z, z, multiply_add(y, y, x * x));
}

/// Of the pairs in a block, takes out those that float32 let pass and float64 does not.
DISTMLIP_DEVICE inline void decide(const SearchView& view, int64_t task, int64_t block) {
  const int64_t begin = view.block_begin[task], n_blocks = view.block_begin[task + 1] - begin;
  const int32_t first_row = view.first_row[task], first_slot = view.block_slot[block];
  for (int32_t row = first_row; row < view.first_row[task + 1]; ++row) {
    const int32_t receiver = view.receiver(row);
    const Point centre = view.points[view.slot[receiver]];
    uint32_t& mask =
        view.masks[first_mask(view.block_begin, task) + (row - first_row) * n_blocks + block - begin];
    for (int k = 0; k < group_lanes; ++k) {
      if (!(mask >> k & 1)) continue;
      const Point& point = view.points[first_slot + k];
      if (squared_distance(point, centre) < view.grid.inner) continue;
      const bool holds = view.rule.holds(view.grid, view.order[receiver], view.order[point.ordinal],
                                         view.shift_code[first_slot + k]);
      if (!holds) mask &= ~(1u << k);
    }
  }
}

/// Decides the pairs of all blocks that are open.
template <class Backend>
void decide_open_blocks(const Backend& backend, const SearchView& view, int64_t n_tasks) {
  using Group = typename Backend::Group;
  backend.for_each_group(n_tasks, [=] DISTMLIP_DEVICE(const Group& group, int64_t task) {
    group.each_lane([&](int lane) {
      const int64_t end = view.block_begin[task + 1];
      for (int64_t block = view.block_begin[task] + lane; block < end; block += group_lanes)
        if (view.open[block]) decide(view, task, block);
    });
  });
}

}  // namespace distmlip::kernels
