// Atoms moved by whole cell vectors, next to each other.
#pragma once

#include <array>
#include <cstdint>

#include "core/buffer.h"
#include "core/cell.h"

namespace distmlip::neighbors {

struct Range {
  double low, high;
  double length() const { return high - low; }
};

/// How far atoms extend once they have been moved together.
struct Extent {
  std::array<Range, 3> cartesian;    // Å
  std::array<Range, 3> fractional;   // [0, 1] where images are within reach
  std::array<bool, 3> meets_images;  // whether atoms have periodic images of others within reach
  double farthest;                   // Å, largest absolute coordinate as given
};

/// Where the atoms are once they have been moved together.
struct Wrapped : Extent {
  Buffer<int32_t> counts;    // (n_atoms, 3) whole cells that were taken away
  Buffer<double> positions;  // (n_atoms, 3) Å, position − counts · cell

  int64_t n_atoms() const { return static_cast<int64_t>(positions.size()) / 3; }
};

/// Moves atoms into the cell along periodic axes. Where a stretch without atoms, longer than `radius` (Å),
/// lies across such an axis, the cell is taken to start behind it: vacuum then costs as little as with open
/// boundaries. positions: (n_atoms, 3) Å. Counts along axes that are not periodic are zero.
/// Throws std::invalid_argument if a position is not finite or absurdly far away.
Wrapped wrap(const Cell& cell, const double* positions, int64_t n_atoms, double radius, int n_threads);

/// How far rounding, to float32 and of wrapped positions, can change the distance of two atoms that are
/// `radius` apart: Å.
double rounding_margin(const Extent& extent, double radius);

// What moving atoms has in common wherever it is done.

constexpr double farthest_allowed = 1e9;  // Å, and cells: further out float64 resolves no cutoff usefully

/// Throws for an atom that is further away than that, or nowhere.
[[noreturn]] void refuse_position(const Cell& cell, int64_t atom, const Vec3& position);

/// Of so many equal shares of the cell along a periodic axis it is noted whether they hold atoms.
constexpr int32_t n_shares = 4096;
using Occupied = std::array<char, n_shares>;

/// Along every periodic axis, the share that the cell is taken to start with: the one behind the longest
/// empty stretch, if that is longer than `radius` (Å), else 0. Sets extent.meets_images.
std::array<int32_t, 3> first_shares(const Cell& cell, const std::array<Occupied, 3>& occupied, double radius,
                                    Extent& extent);

/// wrapped = position − wrap · cell, per atom and in one fixed order of operations.
void subtract_wrap(const Cell& cell, const int32_t* wrap, const double* positions, int64_t n_atoms,
                   double* wrapped);

}  // namespace distmlip::neighbors
