#include "executor/flushed_team.h"

#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <ATen/TensorIterator.h>

#include <exception>
#include <functional>

namespace distmlip::executor {
namespace {

/// Calls work(k) on every thread k of the calling thread's intra-op team, once.
///
/// An iterator of torch's, because its loop is inside torch: at::parallel_for is a template, which compiled
/// here would need the flags and the very OpenMP library that torch was built with, or run on the calling
/// thread only.
void on_every_thread(const std::function<void(size_t)>& work) {
  auto one_each = at::empty({at::get_num_threads()}, at::kChar);
  auto iterator = at::TensorIterator::nullary_op(one_each);
  const auto loop = [&](char**, const int64_t*, int64_t, int64_t) { work(at::get_thread_num()); };
  iterator.for_each(loop, /*grain_size=*/1);
}

}  // namespace

FlushedTeam::FlushedTeam() : before_(static_cast<size_t>(at::get_num_threads()), subnormal_bits()) {
  // The calling thread is one of them and not the first: who it starts for the team begins with its bits.
  on_every_thread([this](size_t thread) {
    if (thread < before_.size()) before_[thread] = subnormal_bits();
    set_subnormal_bits(flush_subnormals);
  });
}

FlushedTeam::~FlushedTeam() {
  try {
    // Threads that joined the team meanwhile have begun with the bits of the calling thread.
    on_every_thread(
        [this](size_t thread) { set_subnormal_bits(before_[thread < before_.size() ? thread : 0]); });
  } catch (const std::exception&) {  // no memory for the iterator
    set_subnormal_bits(before_[0]);
  }
}

}  // namespace distmlip::executor
