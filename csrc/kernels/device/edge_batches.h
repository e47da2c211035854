// From the bits that the search found to edges, with all lanes busy.
#pragma once

#include "kernels/device/search_tasks.h"

namespace distmlip::kernels {

/// Up to 32 edges, one per lane: the first `count` lanes have one. Edges are numbered by rows, and within a
/// row in the order of slots; those of a batch follow each other.
template <class Backend>
struct EdgeBatch {
  int64_t first_edge;
  int count;
  typename Backend::template PerLane<int32_t> row, slot;  // slot of the sender
};

/// 32 masks at a time have at most 1024 bits: mask and bit of each hit, in order.
template <class Scratch>
struct HitScratch {
  uint16_t bits[group_lanes * group_lanes];
  Scratch of_write;
};

/// For a `write` that needs no scratch of its own.
struct NoScratch {};

/// write(group, batch, scratch) for all edges.
template <class Scratch, class Backend, class Write>
void for_each_batch(const Backend& backend, const EdgeMasks& found, Write write) {
  using Group = typename Backend::Group;
  const int32_t *first_row = found.first_row.data(), *block_slot = found.block_slot.data();
  const int64_t *block_begin = found.block_begin.data(), *row_begin = found.row_begin.data();
  const uint32_t* masks = found.masks.data();
  const auto body = [=] DISTMLIP_DEVICE(const Group& group, int64_t task, HitScratch<Scratch>& scratch) {
    uint16_t* bits = scratch.bits;
    const auto n_blocks = static_cast<int32_t>(block_begin[task + 1] - block_begin[task]);
    const int32_t n_masks = (first_row[task + 1] - first_row[task]) * n_blocks;
    int64_t edge = row_begin[first_row[task]];
    for (int32_t first = 0; first < n_masks; first += group_lanes) {
      typename Backend::template PerLane<int32_t> slot, row;
      typename Backend::template PerLane<uint32_t> mask;
      typename Backend::template PerLane<int> place;
      group.each_lane([&](int lane) {
        const int32_t k = first + lane;
        row[lane] = first_row[task] + k / n_blocks;
        slot[lane] = k < n_masks ? block_slot[block_begin[task] + k % n_blocks] : 0;
        mask[lane] = k < n_masks ? masks[first_mask(block_begin, task) + k] : 0;
        place[lane] = count_bits(mask[lane]);
      });
      const int n_hits = group.exclusive_sum(place);
      group.each_lane([&](int lane) {
        for (uint32_t rest = mask[lane]; rest != 0; rest &= rest - 1)
          bits[place[lane]++] = static_cast<uint16_t>(lane * group_lanes + lowest_bit(rest));
      });
      group.wait();
      for (int hit = 0; hit < n_hits; hit += group_lanes) {
        EdgeBatch<Backend> batch;
        batch.first_edge = edge + hit;
        batch.count = n_hits - hit < group_lanes ? n_hits - hit : group_lanes;
        const auto mask_of = [&](int lane) {
          return lane < batch.count ? bits[hit + lane] / group_lanes : 0;
        };
        batch.row = group.shuffle(row, mask_of);
        batch.slot = group.shuffle(slot, mask_of);
        group.each_lane([&](int lane) {
          if (lane < batch.count) batch.slot[lane] += bits[hit + lane] % group_lanes;
        });
        write(group, batch, scratch.of_write);
      }
      group.wait();
      edge += n_hits;
    }
  };
  backend.template for_each_group_with<HitScratch<Scratch>>(found.n_tasks(), body);
}

}  // namespace distmlip::kernels
