// The processes of a run, each with some of the partitions.
#pragma once

#include <ATen/core/Tensor.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <stdexcept>
#include <string>
#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>
#include <vector>

namespace distmlip::exchange {

/// A rank is lost, or gave up: what was under way cannot be finished.
class RankError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A c10d process group. Every rank calls the same methods in the same order; each throws RankError if
/// another rank cannot take part, and from then on.
class RankGroup {
 public:
  /// `group`: the name that c10d knows the group by. `device`: where its backend wants tensors.
  RankGroup(const std::string& group, at::Device device);

  int rank() const { return rank_; }
  int size() const { return size_; }

  /// `sent`: flat, send_counts[r] numbers for rank r, one after another. Returns what the others sent here.
  at::Tensor all_to_all(const at::Tensor& sent, const std::vector<int64_t>& send_counts,
                        const std::vector<int64_t>& receive_counts);

  /// The same if receivers do not know how much they get: fills receive_counts.
  at::Tensor all_to_all_unknown(const at::Tensor& sent, const std::vector<int64_t>& send_counts,
                                std::vector<int64_t>& receive_counts);

  /// Sums a tensor over the ranks, in place; every rank gets the same.
  void all_sum(at::Tensor tensor);

  /// The same of one number.
  double sum(double value);

  /// The tensor of rank 0, in place. On the group's device, as in all_sum.
  void broadcast(at::Tensor tensor);

  /// Ends all waiting, now and later, with this message. From any thread; the first message counts.
  void abandon(const std::string& reason);

  /// Throws RankError if the group was abandoned.
  void check();
  bool abandoned();

  /// Whether a connection broke: another rank is probably lost.
  bool broken() const { return broken_; }

  /// How many collectives this rank has begun: all ranks begin the same ones in the same order.
  int64_t begun() const { return begun_; }

 private:
  /// Starts a collective and waits for it.
  void finish(bool on_host, const std::function<c10::intrusive_ptr<c10d::Work>()>& start);
  void wait(const c10::intrusive_ptr<c10d::Work>& work, bool on_host);
  [[noreturn]] void fail(const std::string& what);

  c10::intrusive_ptr<c10d::ProcessGroup> group_;
  at::Device device_;
  int rank_, size_;
  std::mutex mutex_;
  std::string reason_;  // why the group was abandoned; empty while all is well
  std::atomic<bool> broken_ = false;
  std::atomic<int64_t> begun_ = 0;
};

}  // namespace distmlip::exchange
