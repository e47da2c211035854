// Atoms sorted into bins, with copies of those near periodic faces.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "core/buffer.h"
#include "core/cell.h"
#include "kernels/distance_filter.h"
#include "neighbors/bin_axes.h"
#include "neighbors/wrapping.h"

namespace distmlip::neighbors {

/// The ordinal of an atom is its place in the order of bins; atoms of one bin keep their order. Slots hold
/// atoms and their periodic copies, bin after bin, x fastest: for given y and z, all bins within reach along
/// x are one run of slots.
///
/// Every bin is at least as wide as its share of the reach (`layers` bins cover it), so whatever is
/// within reach of an atom lies at most `layers` bins away.
struct Bins {
  std::array<BinAxis, 3> axes;
  Buffer<int32_t> begin;        // (n_bins + 1) first slot of each bin, ghosts included
  Buffer<int32_t> order;        // (n_atoms) the atom of each ordinal
  Buffer<int32_t> bin;          // (n_atoms) the bin of each ordinal
  Buffer<int32_t> slot;         // (n_atoms) the slot that holds the atom of each ordinal itself; ascending
  Buffer<float> x, y, z;        // (n_slots + slack) Å, relative to a common origin, rounded
  Buffer<int32_t> ordinal;      // (n_slots + slack) which atom
  Buffer<uint16_t> shift_code;  // (n_slots) which periodic image
  std::vector<int32_t> shifts;  // (n_codes, 3); the code of −shift is n_codes − 1 − code
  kernels::SquaredLimits limits{};

  int64_t n_atoms() const { return static_cast<int64_t>(order.size()); }
  int64_t n_codes() const { return static_cast<int64_t>(shifts.size()) / 3; }
  int64_t row_stride() const { return axes[0].extent(); }
  int64_t plane_stride() const { return row_stride() * axes[1].extent(); }
  kernels::Slots slots() const { return {x.data(), y.data(), z.data(), ordinal.data(), shift_code.data()}; }
};

/// How far a search for pairs within a radius looks, and what float32 tells about distances.
struct Reach {
  double outer;  // Å, the radius and a margin for rounding
  kernels::SquaredLimits limits;
};
Reach reach_of(const Extent& extent, double radius);

/// The shifts of all codes: (n_codes, 3).
std::vector<int32_t> numbered_shifts(const std::array<BinAxis, 3>& axes);

/// Sorts atoms for a search of all pairs within `radius` (Å, > 0), the one that they were wrapped for.
/// Throws std::invalid_argument if the cell is so thin that there are more periodic images than a shift code
/// can number.
Bins sort_into_bins(const Cell& cell, const Wrapped& wrapped, double radius, int n_threads);

}  // namespace distmlip::neighbors
