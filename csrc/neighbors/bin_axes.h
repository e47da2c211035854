// How many bins there are along each axis.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <vector>

#include "core/cell.h"
#include "kernels/device/grid.h"
#include "neighbors/wrapping.h"

namespace distmlip::neighbors {

/// Bins along one axis: `count` real ones between `layers` ghost ones on either side.
struct BinAxis {
  int32_t count = 1;
  int32_t layers = 0;
  int32_t images = 0;   // largest absolute shift of a ghost bin
  double origin = 0;    // fractional coordinate where the first real bin starts
  double per_unit = 0;  // bins per unit of the fractional coordinate

  int32_t extent() const { return count + 2 * layers; }
};

/// Equal layers of an axis, wide enough that atoms with an empty one between them are no neighbours. What
/// stands in `removed` moves places together such that of every empty stretch one layer is left.
struct AxisLayers {
  kernels::Squeeze squeeze;     // with `removed` unset
  std::vector<double> removed;  // (n_layers)
};

/// Which layers of an axis hold atoms: (n_layers).
using FindOccupied = std::function<std::vector<uint8_t>(int axis, const kernels::Squeeze& layers)>;

struct BinLayout {
  std::array<BinAxis, 3> axes;
  std::array<AxisLayers, 3> layers;  // of axes whose empty stretches are cut out; without layers for others
};

/// Chooses bins such that atoms within `reach` (Å) of each other are at most `layers` bins apart. Their
/// number is bounded by the number of atoms; if vacuum would exceed that, empty stretches are cut out along
/// axes without images. Throws std::invalid_argument if there are more periodic images within reach than can
/// be numbered.
BinLayout choose_bins(const Cell& cell, const Extent& extent, int64_t n_atoms, double reach,
                      const FindOccupied& find_occupied);

}  // namespace distmlip::neighbors
