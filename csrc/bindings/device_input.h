// Positions and cells as tensors, on the device where graphs are made from them.
#pragma once

#include <ATen/ATen.h>

#include <array>

#include "core/cell.h"

namespace distmlip::bindings {

/// What a neighbour list on a device is made from.
struct DeviceInput {
  at::Tensor positions;  ///< (n_atoms, 3) float64
  at::ScalarType dtype;  ///< of the vectors
  Cell cell;
};

/// Throws std::invalid_argument if shapes, types or the cutoff are wrong.
DeviceInput checked_input(const at::Tensor& positions, const at::Tensor& cell,
                          const std::array<bool, 3>& periodic, double cutoff);

}  // namespace distmlip::bindings
