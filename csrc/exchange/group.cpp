#include "exchange/group.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <chrono>
#include <exception>
#include <numeric>
#include <thread>
#include <torch/csrc/distributed/c10d/GroupRegistry.hpp>

namespace distmlip::exchange {
namespace {

using namespace std::chrono_literals;

/// Messages are often there at once; after that, waiting must not take the processor from who computes. So
/// long a sleep makes nothing later by more than a hundredth of the wait, and by no more than the longest.
constexpr int polls_before_sleep = 200;
constexpr int waits_per_sleep = 100;
constexpr std::chrono::nanoseconds shortest_sleep = 10us, longest_sleep = 30ms;

/// After a connection has broken it takes a few heartbeats until it is known whose fault it was.
constexpr auto patience = 5s;

}  // namespace

RankGroup::RankGroup(const std::string& group, at::Device device)
    : group_(c10d::resolve_process_group(group)),
      device_(device),
      rank_(group_->getRank()),
      size_(group_->getSize()) {}

at::Tensor RankGroup::all_to_all(const at::Tensor& sent, const std::vector<int64_t>& send_counts,
                                 const std::vector<int64_t>& receive_counts) {
  auto input = sent.contiguous().to(device_);
  auto output = input.new_empty({std::accumulate(receive_counts.begin(), receive_counts.end(), int64_t{0})});
  auto to = send_counts, from = receive_counts;
  // The group's own function has another name since torch 2.13; its backend's has not.
  const auto backend = group_->getBackend(device_.type());
  finish(input.is_cpu(), [&] { return backend->alltoall_base(output, input, from, to); });
  return output.to(sent.device());
}

at::Tensor RankGroup::all_to_all_unknown(const at::Tensor& sent, const std::vector<int64_t>& send_counts,
                                         std::vector<int64_t>& receive_counts) {
  const std::vector<int64_t> one_each(static_cast<size_t>(size_), 1);
  const auto counts = at::tensor(send_counts, at::TensorOptions(at::kLong).device(sent.device()));
  const auto received = all_to_all(counts, one_each, one_each).cpu();
  receive_counts.assign(received.const_data_ptr<int64_t>(), received.const_data_ptr<int64_t>() + size_);
  return all_to_all(sent, send_counts, receive_counts);
}

void RankGroup::all_sum(at::Tensor tensor) {
  std::vector<at::Tensor> tensors{std::move(tensor)};
  finish(tensors[0].is_cpu(), [&] { return group_->allreduce(tensors); });
}

double RankGroup::sum(double value) {
  const at::Tensor total = at::full({1}, value, at::TensorOptions(at::kDouble).device(device_));
  all_sum(total);
  return total.item<double>();
}

void RankGroup::broadcast(at::Tensor tensor) {
  std::vector<at::Tensor> tensors{std::move(tensor)};
  finish(tensors[0].is_cpu(), [&] { return group_->broadcast(tensors); });
}

void RankGroup::abandon(const std::string& reason) {
  {
    const std::lock_guard lock(mutex_);
    if (!reason_.empty()) return;
    reason_ = reason;
  }
  // Never destroyed: its end would wait for what can no longer be finished, and the process with it.
  new c10::intrusive_ptr<c10d::ProcessGroup>(group_);
  try {
    group_->abort();
  } catch (const std::exception&) {
    // Nothing more can be done; who waits here finds out by polling.
  }
}

bool RankGroup::abandoned() {
  const std::lock_guard lock(mutex_);
  return !reason_.empty();
}

void RankGroup::check() {
  const std::lock_guard lock(mutex_);
  if (!reason_.empty()) throw RankError(reason_);
}

void RankGroup::finish(bool on_host, const std::function<c10::intrusive_ptr<c10d::Work>()>& start) {
  check();
  ++begun_;
  try {
    wait(start(), on_host);
  } catch (const c10::Error& error) {
    fail(error.what_without_backtrace());
  }
}

/// On a GPU the stream waits and the host goes on. On the host this looks again and again, because no backend
/// promises to wake up when another rank is lost.
void RankGroup::wait(const c10::intrusive_ptr<c10d::Work>& work, bool on_host) {
  const auto start = std::chrono::steady_clock::now();
  for (int polls = 0; on_host && !work->isCompleted(); ++polls) {
    check();
    if (polls < polls_before_sleep) {
      std::this_thread::yield();
    } else {
      const std::chrono::nanoseconds waited = std::chrono::steady_clock::now() - start;
      std::this_thread::sleep_for(std::clamp(waited / waits_per_sleep, shortest_sleep, longest_sleep));
    }
  }
  try {
    work->wait();
  } catch (const std::exception& error) {
    fail(error.what());
  }
}

void RankGroup::fail(const std::string& what) {
  broken_ = true;
  const auto end = std::chrono::steady_clock::now() + patience;
  while (std::chrono::steady_clock::now() < end) {
    check();
    std::this_thread::sleep_for(10ms);
  }
  abandon("the connection to another rank broke: " + what);
  check();
  throw RankError(what);
}

}  // namespace distmlip::exchange
