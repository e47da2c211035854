// The loop over candidates, for any width of vectors. Only for files that are compiled for one instruction
// set: no function here may be shared with others, or a linker could choose the wrong copy.
#pragma once

#include "kernels/distance_filter.h"

namespace distmlip::kernels {
namespace {

/// `Simd` has lanes (a divisor of filter_lanes), Point, Distances, broadcast(x, y, z),
/// squared_distances(slots, first, point), below(distances, limit) -> bit mask, zeros(), farthest(distances,
/// chosen, so far), copy(from, to) of as many 32-bit values, replace(table, values), which looks up as many
/// values in place unless one of them is negative in the table, and compress(mask, from, to), which copies
/// the chosen lanes to the front and may write all.
template <class Simd>
Candidates pack_with(const Slots& from, const Run* runs, int64_t n_runs, const PackedSlots& to) {
  constexpr int64_t lanes = Simd::lanes;
  int64_t n = 0;
  bool one_image = true;
  for (int64_t run = 0; run < n_runs; ++run) {
    const int64_t begin = runs[run].begin, count = runs[run].end - begin;
    for (int64_t k = 0; k < count; k += lanes) {
      Simd::copy(from.x + begin + k, to.x + n + k);
      Simd::copy(from.y + begin + k, to.y + n + k);
      Simd::copy(from.z + begin + k, to.z + n + k);
      Simd::copy(from.ordinal + begin + k, to.ordinal + n + k);
    }
    // Codes ascend along a run.
    one_image &= from.shift_code[begin] == from.shift_code[runs[0].begin] &&
                 from.shift_code[begin + count - 1] == from.shift_code[begin];
    n += count;
  }
  to.shift_code[0] = from.shift_code[runs[0].begin];
  for (int64_t run = 0, at = 0; run < n_runs && !one_image; ++run)
    for (int64_t slot = runs[run].begin; slot < runs[run].end; ++slot)
      to.shift_code[at++] = from.shift_code[slot];
  const int64_t n_padded = (n + filter_lanes - 1) / filter_lanes * filter_lanes;
  for (int64_t k = n; k < n_padded; ++k) to.x[k] = __builtin_inff();
  for (int64_t k = n; k < n_padded; ++k) to.y[k] = to.z[k] = 0;
  return {to, n_padded, one_image};
}

template <class Simd, bool one_image>
HitCount around_with(const Candidates& candidates, int64_t centre, SquaredLimits limits, Hits hits) {
  constexpr int64_t lanes = Simd::lanes;
  const PackedSlots slots = candidates.slots;  // a copy, which what is written to `hits` cannot change
  const int64_t n_padded = candidates.n_padded, own_block = centre / lanes * lanes;
  const auto point = Simd::broadcast(slots.x[centre], slots.y[centre], slots.z[centre]);
  const uint32_t not_centre = ~(1u << (centre % lanes));
  auto farthest = Simd::zeros();
  int64_t n = 0;
  for (int64_t first = 0; first < n_padded; first += lanes) {
    const auto distances = Simd::squared_distances(slots, first, point);
    const uint32_t near = Simd::below(distances, limits.outer);
    const uint32_t chosen = first == own_block ? near & not_centre : near;
    farthest = Simd::farthest(distances, chosen, farthest);
    Simd::compress(chosen, slots.ordinal + first, hits.ordinal + n);
    if constexpr (!one_image) Simd::compress(chosen, slots.shift_code + first, hits.shift_code + n);
    n += __builtin_popcount(chosen);
  }
  if constexpr (one_image)
    for (int64_t k = 0; k < n; ++k) hits.shift_code[k] = slots.shift_code[0];
  const bool all_inside = Simd::below(farthest, limits.inner) == (1u << lanes) - 1;
  return {n, !all_inside};
}

template <class Simd>
HitCount around_with(const Candidates& candidates, int64_t centre, SquaredLimits limits, Hits hits) {
  return candidates.one_image ? around_with<Simd, true>(candidates, centre, limits, hits)
                              : around_with<Simd, false>(candidates, centre, limits, hits);
}

template <class Simd>
int32_t number_with(const RowNumbers& rows, int32_t* ordinals, int64_t n) {
  constexpr int64_t lanes = Simd::lanes;
  int32_t next = rows.next;
  for (int64_t k = 0; k < n;) {
    if (k + lanes <= n && Simd::replace(rows.of_ordinal, ordinals + k)) {
      k += lanes;
      continue;
    }
    const int64_t end = k + lanes < n ? k + lanes : n;
    for (; k < end; ++k) {
      int32_t& row = rows.of_ordinal[ordinals[k]];
      if (row < 0) {
        rows.newcomers[next - rows.next] = ordinals[k];
        row = next++;
      }
      ordinals[k] = row;
    }
  }
  return next;
}

}  // namespace
}  // namespace distmlip::kernels
