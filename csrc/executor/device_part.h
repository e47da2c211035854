// One partition whose graphs are made where its tensors are: only positions go to the device, only forces
// come back.
#pragma once

#include <memory>

#include "executor/device.h"
#include "executor/step.h"

namespace distmlip::executor {

/// What all partitions on a device read: where the atoms are, and what shift codes mean.
class DeviceSystem {
 public:
  DeviceSystem(const partition::Decomposition& decomposition, at::Device device);

  /// Copies positions and shift vectors to the device.
  void update(const partition::Snapshot& snapshot);

  at::Device device() const { return device_; }
  const double* positions() const { return positions_.data(); }
  const int32_t* wrap_index() const { return wrap_index_.data(); }
  /// Pointers to memory of the device.
  kernels::ShiftTable shifts() const;

 private:
  at::Device device_;
  kernels::Array<int32_t> wrap_index_, shift_of_code_, wraps_;
  kernels::Array<double> positions_, cell_, shift_vectors_;
};

/// What the edges of one partition give to its local rows: see kernels::EdgeForces; on the host.
struct PartForces {
  at::Tensor forces, virial, virials;
};

class DevicePart {
 public:
  DevicePart(const partition::Decomposition& decomposition, int32_t partition, at::Device device,
             at::ScalarType dtype);

  /// The graph at the system's present positions: the tensors that Step makes on the host. Of `graph` the
  /// sizes and the cut edges are filled in.
  LocalTensors update(const DeviceSystem& system, partition::StepGraph& graph);

  /// From dE/dvector of the edges that update() returned.
  PartForces forces(const LocalTensors& tensors, const at::Tensor& edge_gradients, bool with_virials) const;

 private:
  template <class Real>
  void write_edges(kernels::DeviceKernels& kernels, const kernels::FilterRequest& request,
                   LocalTensors& tensors);
  void write_bonds(kernels::DeviceKernels& kernels, LocalTensors& tensors, partition::StepGraph& graph);
  void find_cut(kernels::DeviceKernels& kernels, LocalTensors& tensors, partition::StepGraph& graph);
  template <class Real>
  void sum(kernels::DeviceKernels& kernels, const LocalTensors& tensors, const at::Tensor& edge_gradients,
           const PartForces& out) const;

  const partition::Decomposition& decomposition_;
  int32_t partition_;
  at::Device device_;
  at::ScalarType dtype_;
  // As long as the decomposition is used.
  kernels::LocalRows candidates_;
  kernels::Array<int32_t> atoms_;          // (n_local)
  kernels::Array<int32_t> cut_candidate_;  // (n, 2) row and candidate
  kernels::SenderRows by_sender_;
  // Of the last update.
  kernels::StepEdges edges_;
  kernels::Array<int32_t> candidate_of_edge_, short_edge_;
};

}  // namespace distmlip::executor
