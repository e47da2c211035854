#include "executor/measure.h"

#include <c10/util/ThreadLocalDebugInfo.h>
#include <torch/csrc/profiler/orchestration/observer.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <mutex>

#include "executor/device.h"

namespace distmlip::executor {
namespace {

namespace profiler = torch::profiler::impl;

/// Torch's allocators report to what a thread has in the place of a profiler. To everybody else this one says
/// that it is off.
class MemoryMeter : public profiler::ProfilerStateBase {
 public:
  MemoryMeter() : ProfilerStateBase(profiler::ProfilerConfig(profiler::ProfilerState::Disabled)) {}

  bool memoryProfilingEnabled() const override { return true; }
  profiler::ActiveProfilerType profilerType() override { return profiler::ActiveProfilerType::NONE; }
  void reportMemoryUsage(void* /*memory*/, int64_t n_bytes, size_t /*allocated*/, size_t /*reserved*/,
                         c10::Device /*device*/) override {
    const std::lock_guard lock(mutex_);
    bytes_ += n_bytes;
    peak_ = std::max(peak_, bytes_);
  }

  void add_to(Cost& cost) const {
    cost.bytes_peak = std::max(cost.bytes_peak, cost.bytes_left + peak_);
    cost.bytes_left += bytes_;
  }

 private:
  std::mutex mutex_;
  int64_t bytes_ = 0, peak_ = 0;
};

}  // namespace

void measured(Cost* cost, const exchange::PerPartition& on, const std::function<void()>& job) {
  if (cost == nullptr) {
    job();
    return;
  }
  const auto meter = std::make_shared<MemoryMeter>();
  const auto start = std::chrono::steady_clock::now();
  {
    const c10::DebugInfoGuard reporting(c10::DebugInfoKind::PROFILER_STATE, meter);
    job();
  }
  for (const auto& tensor : on)
    if (!tensor.device().is_cpu()) default_stream(tensor.device()).synchronize();
  cost->seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  meter->add_to(*cost);
}

}  // namespace distmlip::executor
