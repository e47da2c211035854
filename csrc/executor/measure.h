// What a piece of work takes: seconds, and bytes of torch's allocators.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

#include "exchange/exchange.h"

namespace distmlip::executor {

/// Sums over pieces of work that follow each other.
struct Cost {
  double seconds = 0;
  int64_t bytes_left = 0;  ///< allocated and not freed again; negative if more was freed
  int64_t bytes_peak = 0;  ///< the most at any time
};

/// Runs `job` and adds what it took to `cost`, with what it started on the devices of these tensors; if there
/// is no cost to add to, it only runs it. Of memory counts what this thread, and autograd's threads on its
/// behalf, allocate, and what they free of that which was counted before.
void measured(Cost* cost, const exchange::PerPartition& on, const std::function<void()>& job);

}  // namespace distmlip::executor
