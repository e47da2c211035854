// The partitions on one device: only positions go there, only forces come back, each in one copy.
#pragma once

#include <memory>
#include <vector>

#include "executor/device_part.h"

namespace distmlip::executor {

class DeviceParts {
 public:
  /// `partitions`: those whose candidates are on this device.
  DeviceParts(const partition::Decomposition& decomposition, at::Device device,
              std::vector<int32_t> partitions, at::ScalarType dtype);

  const std::vector<int32_t>& partitions() const { return partitions_; }

  /// The graphs of these partitions at new positions.
  void update(const partition::Snapshot& snapshot, std::vector<LocalTensors>& parts,
              std::vector<partition::StepGraph>& graphs);

  /// Adds what dE/dvector of these partitions' edges give to all atoms; undefined gradients are zero. Of
  /// `total` virials may be undefined.
  void add_forces(const std::vector<LocalTensors>& parts, const exchange::PerPartition& edge_gradients,
                  Forces& total) const;

 private:
  at::Tensor sums(const std::vector<LocalTensors>& parts, const exchange::PerPartition& edge_gradients,
                  bool with_virials) const;

  at::Device device_;
  std::vector<int32_t> partitions_;
  std::vector<int32_t> atoms_;  // that any local row here is, each once
  std::unique_ptr<DeviceSystem> system_;
  std::vector<DevicePart> parts_;
};

}  // namespace distmlip::executor
