// How many bins there are along each axis.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "core/cell.h"

namespace distmlip::graph {

/// Bins along one axis: `count` real ones between `layers` ghost ones on either side.
struct BinAxis {
  int32_t count = 1;
  int32_t layers = 0;
  int32_t images = 0;   // largest absolute shift of a ghost bin
  double origin = 0;    // fractional coordinate where the first real bin starts
  double per_unit = 0;  // bins per unit of the fractional coordinate

  int32_t extent() const { return count + 2 * layers; }
};

/// Coordinates of all atoms along one direction.
using Places = std::vector<double>;

/// direction · position of every atom; positions: (n_atoms, 3).
Places places_along(const Vec3& direction, const double* positions, int64_t n_atoms);

struct Range {
  double low, high;
  double length() const { return high - low; }
};

/// Lowest and highest place; there must be one.
Range range_of(const Places& places);

/// Chooses bins such that atoms within `reach` (Å) of each other are at most `layers` bins apart. Their
/// number is bounded by the number of atoms; if vacuum would exceed that, empty stretches of open axes are
/// cut out of `fractional`. Throws std::invalid_argument if there are more periodic images within reach than
/// can be numbered.
std::array<BinAxis, 3> choose_axes(const Cell& cell, std::array<Places, 3>& fractional, double reach);

}  // namespace distmlip::graph
