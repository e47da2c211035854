#include "core/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace distmlip {

int available_threads() { return std::max(1, static_cast<int>(std::thread::hardware_concurrency())); }

void parallel_for(int64_t n_items, int n_threads, const std::function<void(int64_t, int)>& work) {
  if (n_threads <= 0) n_threads = available_threads();
  n_threads = static_cast<int>(std::min<int64_t>(n_threads, n_items));
  std::atomic<int64_t> next{0};
  std::mutex mutex;
  std::exception_ptr first_error;
  const auto worker = [&](int thread) {
    for (int64_t item = next++; item < n_items; item = next++) {
      try {
        work(item, thread);
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (!first_error) first_error = std::current_exception();
        next = n_items;
      }
    }
  };
  std::vector<std::thread> threads;
  for (int thread = 1; thread < n_threads; ++thread) {
    try {
      threads.emplace_back(worker, thread);
    } catch (const std::system_error&) {
      break;  // No more threads to be had: those that started do all the work.
    }
  }
  worker(0);
  for (auto& thread : threads) thread.join();
  if (first_error) std::rethrow_exception(first_error);
}

}  // namespace distmlip
