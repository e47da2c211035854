// Atoms on a device, sorted for a search: the layout is chosen here, everything else happens there.
#pragma once

#include <cstdint>
#include <vector>

#include "core/cell.h"
#include "kernels/device_kernels.h"
#include "neighbors/wrapping.h"

namespace distmlip::neighbors {

struct DeviceAtoms {
  kernels::WrappedAtoms wrapped;
  kernels::SortedAtoms sorted;
  std::vector<int32_t> shifts;  // (n_codes, 3); the code of −shift is n_codes − 1 − code
  double farthest = 0;          // Å, largest absolute coordinate as given
};

/// positions: (n_atoms, 3) Å on the device of `kernels`; radius in Å, > 0. Order, bins and shift codes are
/// those of wrap() and sort_into_bins().
/// Throws std::invalid_argument as those do.
DeviceAtoms sort_on_device(kernels::DeviceKernels& kernels, const Cell& cell, const double* positions,
                           int64_t n_atoms, double radius);

}  // namespace distmlip::neighbors
