// Work on all partitions of a sweep, on the workers of their devices.
#pragma once

#include <c10/core/Device.h>

#include <functional>

#include "executor/sweep.h"

namespace distmlip::executor {

class PartitionJobs {
 public:
  using Job = std::function<void(size_t partition, int n_threads)>;
  using CostOf = std::function<Cost*(size_t partition)>;

  /// `request` must outlive it.
  explicit PartitionJobs(const SweepRequest& request) : request_(request) {}

  /// Runs `job` for every partition that owns atoms, on its device's worker, one after another on each; side
  /// by side if it needs neither Python nor torch's threads and there are enough of them.
  void run(bool is_native, const Job& job, const CostOf& cost_of) const;

  bool has_atoms(size_t p) const { return request_.crossing.n_owned[p] > 0; }
  at::Device device_of(size_t p) const { return request_.crossing.atoms.sources[p].device(); }

 private:
  const SweepRequest& request_;
};

}  // namespace distmlip::executor
