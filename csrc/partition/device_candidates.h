// The candidates of partitions, found on a device.
#pragma once

#include <cstdint>
#include <vector>

#include "neighbors/device_atoms.h"
#include "partition/decomposition.h"

namespace distmlip::partition {

/// All atoms of a system on a device, where partitions look for their neighbours.
class DeviceSearch {
 public:
  /// positions: (n_atoms, 3) Å on the device, kept by reference, as are the kernels. radius: cutoff and skin,
  /// Å. Throws std::invalid_argument as decompose() does.
  DeviceSearch(kernels::DeviceKernels& kernels, const Cell& cell, const double* positions, int64_t n_atoms,
               double radius);

  /// What build_candidates() gives for these owners, row by row and edge by edge.
  kernels::LocalRows rows(const kernels::LocalRequest& request) const;

  const neighbors::DeviceAtoms& atoms() const { return atoms_; }

 private:
  kernels::DeviceKernels& kernels_;
  neighbors::DeviceAtoms atoms_;
  kernels::EdgeRule rule_;
};

/// What of a decomposition the edges of all partitions on a device read.
struct DeviceTables {
  kernels::Array<int32_t> wrap_index, shifts, wraps;

  DeviceTables(kernels::DeviceKernels& kernels, const Decomposition& decomposition);

  /// cell: (3, 3), vectors: (n_codes, 4), as those of Snapshot::shifts(), on the device.
  kernels::ShiftTable at(const double* cell, const double* vectors) const {
    return {cell, shifts.data(), vectors, wraps.data()};
  }
};

/// Fills in what LocalCandidates have of these partitions, but for send lists. `reference`: at the positions
/// of the decomposition.
void build_on_device(kernels::DeviceKernels& kernels, const Snapshot& reference,
                     const std::vector<int32_t>& partitions, std::vector<LocalCandidates>& parts);

}  // namespace distmlip::partition
