#include "executor/partition_jobs.h"

#include <ATen/Parallel.h>
#include <c10/core/StreamGuard.h>

#include <map>

#include "core/thread_pool.h"
#include "executor/device.h"
#include "executor/worker.h"

namespace distmlip::executor {

void PartitionJobs::run(bool is_native, const Job& job, const CostOf& cost_of) const {
  std::map<size_t, std::vector<size_t>> partitions_of;
  for (size_t p = 0; p < request_.crossing.n_partitions(); ++p)
    if (has_atoms(p)) partitions_of[request_.slots[p]].push_back(p);
  std::vector<size_t> slots;
  std::vector<std::function<void()>> jobs;
  for (const auto& [slot, partitions] : partitions_of) {
    slots.push_back(slot);
    jobs.push_back([this, is_native, &job, &cost_of, &partitions] {
      // What a model asks for without naming a device is made where its partition is.
      const c10::StreamGuard current(default_stream(device_of(partitions.front())));
      const int n_threads = at::get_num_threads();
      if (is_native && !request_.measured && std::ssize(partitions) >= n_threads) {
        parallel_for(std::ssize(partitions), n_threads,
                     [&](int64_t index, int) { job(partitions[static_cast<size_t>(index)], 1); });
        return;
      }
      for (const size_t p : partitions)
        measured(cost_of(p), {request_.crossing.atoms.sources[p]}, [&] { job(p, n_threads); });
    });
  }
  run_on_workers(slots, jobs);
}

}  // namespace distmlip::executor
