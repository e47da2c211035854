// The neighbour list of a whole system on a device.
#pragma once

#include <cstdint>

#include "core/cell.h"
#include "neighbors/device_atoms.h"

namespace distmlip::neighbors {

/// NeighborList for positions on a device: the same pairs in the same order, with the same vectors.
class DeviceNeighborList {
 public:
  /// positions: (n_atoms, 3) Å on the device, kept by reference, as are the kernels.
  /// Throws std::invalid_argument as NeighborList does.
  DeviceNeighborList(kernels::DeviceKernels& kernels, const double* positions, int64_t n_atoms,
                     const Cell& cell, double cutoff, bool self_interaction);

  int64_t n_pairs() const { return n_pairs_; }

  /// (n_atoms + 1) where the pairs of each atom begin.
  const kernels::Array<int64_t>& begin() const { return begin_; }

  /// Shift codes are rows of shifts(), between atoms moved by wrap() cells: (n_atoms, 3).
  const std::vector<int32_t>& shifts() const { return atoms_.shifts; }
  const kernels::Array<int32_t>& wrap() const { return atoms_.wrapped.counts; }

  template <class Real>
  void write(const kernels::PairArrays<Real>& out) const {
    kernels_.write_pairs(atoms_.sorted, rule_, found_, begin_.data(), with_self_, out);
  }

 private:
  kernels::DeviceKernels& kernels_;
  bool with_self_;
  DeviceAtoms atoms_;
  kernels::EdgeRule rule_;
  kernels::EdgeMasks found_;
  int64_t n_pairs_ = 0;
  kernels::Array<int64_t> begin_;
};

}  // namespace distmlip::neighbors
