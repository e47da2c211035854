#include "executor/worker.h"

#include <ATen/Parallel.h>
#include <ATen/ThreadLocalState.h>
#include <unistd.h>

#include <exception>
#include <map>
#include <memory>
#include <thread>
#include <utility>

#include "core/subnormals.h"

namespace distmlip::executor {

Worker::Worker() { std::thread(&Worker::run, this).detach(); }

std::future<void> Worker::submit(std::function<void()> job) {
  std::packaged_task<void()> task(std::move(job));
  auto done = task.get_future();
  {
    const std::lock_guard lock(mutex_);
    jobs_.push_back(std::move(task));
  }
  arrived_.notify_one();
  return done;
}

void Worker::run() {
  // For good: this thread computes nothing but stages. It starts its intra-op threads, which begin with the
  // same.
  set_subnormal_bits(flush_subnormals);
  for (;;) {
    std::unique_lock lock(mutex_);
    arrived_.wait(lock, [this] { return !jobs_.empty(); });
    auto job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    job();
  }
}

Worker& worker(size_t slot) {
  // Never destroyed: at process exit a thread may still wait, and joining it there could hang.
  static auto* mutex = new std::mutex;
  static auto* workers = new std::map<std::pair<pid_t, size_t>, Worker*>;
  const std::lock_guard lock(*mutex);
  auto& found = (*workers)[{getpid(), slot}];  // threads do not survive a fork
  if (found == nullptr) found = new Worker;
  return *found;
}

void run_on_workers(const std::vector<size_t>& slots, const std::vector<std::function<void()>>& jobs) {
  const int n_threads = at::get_num_threads();
  at::ThreadLocalState callers_state;
  callers_state.set_grad_mode(true);
  // Kept here and not in the futures: a worker must not be the last to hold what the caller handles.
  std::vector<std::exception_ptr> errors(jobs.size());
  std::vector<std::future<void>> running;
  for (size_t k = 0; k < jobs.size(); ++k) {
    running.push_back(
        worker(slots[k]).submit([&job = jobs[k], &error = errors[k], &callers_state, n_threads] {
          const at::ThreadLocalStateGuard as_the_caller(callers_state);
          try {
            if (at::get_num_threads() != n_threads) at::set_num_threads(n_threads);
            job();
          } catch (...) {
            error = std::current_exception();
          }
        }));
  }
  for (auto& job : running) job.wait();
  for (auto& error : errors)
    if (error) std::rethrow_exception(std::exchange(error, nullptr));
}

}  // namespace distmlip::executor
