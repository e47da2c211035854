// How many bins there are along each axis.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "core/cell.h"
#include "graph/wrapping.h"

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

struct BinLayout {
  std::array<BinAxis, 3> axes;
  /// Fractional coordinates (n_atoms) along axes whose empty stretches were cut out; empty for the others.
  std::array<std::vector<double>, 3> squeezed;
};

/// Chooses bins such that atoms within `reach` (Å) of each other are at most `layers` bins apart. Their
/// number is bounded by the number of atoms; if vacuum would exceed that, empty stretches are cut out along
/// axes without images. Throws std::invalid_argument if there are more periodic images within reach than can
/// be numbered.
BinLayout choose_bins(const Cell& cell, const Wrapped& wrapped, double reach);

}  // namespace distmlip::graph
