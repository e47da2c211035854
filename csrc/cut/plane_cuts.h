// Owners from cuts along planes.
#pragma once

#include <array>
#include <cstdint>

#include "core/buffer.h"
#include "cut/input.h"
#include "cut/layers.h"

namespace distmlip::cut {

/// The heaviest partition may have so many times the mean weight: what all cuts on the way to it share.
constexpr double most_imbalance = 1.025;

struct PlaneCuts {
  Buffer<int32_t> owner;            // (n_atoms)
  std::array<double, 3> touched{};  // atoms that touch a cut across each axis, summed over cuts
  std::array<int32_t, 3> n_cuts{};  // along each axis

  /// Rows of all halos together, nearly: an atom in reach of two or three planes is read across their edges
  /// and corners, too (Steiner's formula for the volume around a cuboid).
  double estimated_halo() const;
};

/// Parallel cuts across one axis.
PlaneCuts cut_slabs(const Input& input, const CutAxes& axes, int32_t n_partitions, int axis);

/// Cuts in two, again and again, each across the axis where what is cut is longest; never across `whole_axis`
/// (-1: none).
PlaneCuts bisect(const Input& input, const CutAxes& axes, int32_t n_partitions, int whole_axis);

}  // namespace distmlip::cut
