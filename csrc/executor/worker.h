// One thread per device, shared by every calculator of the process.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <future>
#include <mutex>
#include <vector>

namespace distmlip::executor {

/// A thread that runs jobs one after another, in the order in which they came.
///
/// Calculators on the same device share its worker: their stages take turns instead of competing for the
/// device. A job must not wait for another job of the same worker. Subnormal numbers are zero in jobs, also
/// for their intra-op threads (core/subnormals.h).
class Worker {
 public:
  Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  /// Ready when the job has ended; holds what it threw.
  std::future<void> submit(std::function<void()> job);

 private:
  void run();

  std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<std::packaged_task<void()>> jobs_;
};

/// The worker of a slot, started at first use. Slots are numbered by the caller: one per device.
/// Workers live as long as the process; a forked child gets new ones.
Worker& worker(size_t slot);

/// Runs jobs[k] on the worker of slots[k], waits for all, then rethrows the first exception. Jobs see the
/// caller's number of intra-op threads and its thread-local state of torch (modes, profilers), but for
/// gradients, which are on.
void run_on_workers(const std::vector<size_t>& slots, const std::vector<std::function<void()>>& jobs);

}  // namespace distmlip::executor
