// The graph of one partition, found on a device.
#pragma once

#include <cstdint>

#include "neighbors/device_atoms.h"

namespace distmlip::partition {

/// The candidates of one partition of a system whose atoms are on a device.
struct DeviceCandidates {
  neighbors::DeviceAtoms atoms;
  kernels::LocalRows rows;
};

/// What build_candidates() gives for these owners, row by row and edge by edge. positions: (n_atoms, 3) Å,
/// owner: (n_atoms), both on the device. radius: cutoff and skin, Å. Throws std::invalid_argument as
/// decompose() does.
DeviceCandidates build_on_device(kernels::DeviceKernels& kernels, const Cell& cell, const double* positions,
                                 int64_t n_atoms, double radius, const kernels::LocalRequest& request);

}  // namespace distmlip::partition
