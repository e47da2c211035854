// Work shared between threads.
#pragma once

#include <cstdint>
#include <functional>

namespace distmlip {

/// Number of processors this process may use; at least 1.
int available_threads();

/// Calls work(item, thread) for every item in [0, n_items), each once, on at most n_threads threads
/// (0: all available; the calling thread is one of them). The first exception of a worker stops the
/// handing out of items and is thrown again here after all threads have ended.
void parallel_for(int64_t n_items, int n_threads, const std::function<void(int64_t item, int thread)>& work);

}  // namespace distmlip
