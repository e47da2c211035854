// One partition whose graphs are made where its tensors are.
#pragma once

#include "executor/device.h"
#include "executor/step.h"
#include "partition/device_candidates.h"

namespace distmlip::executor {

/// What all partitions on a device read: where the atoms are, and what shift codes mean.
class DeviceSystem {
 public:
  DeviceSystem(kernels::DeviceKernels& kernels, const partition::Decomposition& decomposition,
               at::Device device);

  /// Copies positions, cell and shift vectors to the device; nothing waits for it.
  void update(const partition::Snapshot& snapshot);

  at::Device device() const { return device_; }
  const double* positions() const { return numbers_.const_data_ptr<double>(); }
  const int32_t* wrap_index() const { return tables_.wrap_index.data(); }
  /// Pointers to memory of the device.
  kernels::ShiftTable shifts() const;

 private:
  at::Device device_;
  partition::DeviceTables tables_;
  int64_t n_atoms_;
  at::Tensor numbers_;  // float64: positions, cell, shift vectors
};

class DevicePart {
 public:
  /// `sum_of`: (n_local) the row that gets the forces on each local row (kernels::SentEdges).
  DevicePart(kernels::DeviceKernels& kernels, const partition::Decomposition& decomposition,
             int32_t partition, at::ScalarType dtype, const std::vector<int32_t>& sum_of);

  /// The graph at the system's present positions: the tensors that Step makes on the host. Of `graph` sizes
  /// and cut groups are filled in.
  LocalTensors update(kernels::DeviceKernels& kernels, const DeviceSystem& system,
                      partition::StepGraph& graph);

  /// Adds what dE/dvector of the edges that update() returned give.
  void add_forces(kernels::DeviceKernels& kernels, const LocalTensors& tensors,
                  const at::Tensor& edge_gradients, const kernels::EdgeForces& out) const;

 private:
  template <class Real>
  void write_edges(kernels::DeviceKernels& kernels, const kernels::FilterRequest& request,
                   LocalTensors& tensors);
  void write_bonds(kernels::DeviceKernels& kernels, LocalTensors& tensors, partition::StepGraph& graph);

  const partition::Decomposition& decomposition_;
  const partition::LocalCandidates& local_;
  at::ScalarType dtype_;
  // As long as the decomposition is used.
  const kernels::LocalRows& candidates_;
  kernels::Array<int32_t> atoms_, sum_of_;              // (n_local)
  kernels::Array<int32_t> cut_candidate_, cut_bounds_;  // (n, 2) row and candidate; and by partner
  kernels::SenderRows by_sender_;
  // Of the last update.
  kernels::StepEdges edges_;
  kernels::Array<int32_t> edge_of_, candidate_of_edge_, short_edge_;
};

}  // namespace distmlip::executor
