// Tensors for what a sweep computes.
#pragma once

#include <ATen/core/Tensor.h>

namespace distmlip::exchange {

/// As at::empty. Large ones on the host are on huge pages, in memory that is used again (core/pages.h): what
/// the C library takes from the system for them, page by page and each time anew, can cost a third of a step.
at::Tensor empty(at::IntArrayRef sizes, const at::TensorOptions& options);

/// While one lives and they are wanted, operations of torch on this thread take such memory for what they
/// make: the inside of eager stages. All else of the process allocates as before.
class OnKeptPages {
 public:
  explicit OnKeptPages(bool wanted = true);
  ~OnKeptPages();
  OnKeptPages(const OnKeptPages&) = delete;
  OnKeptPages& operator=(const OnKeptPages&) = delete;

 private:
  bool before_;
};

/// a + b, in such memory.
at::Tensor sum(const at::Tensor& a, const at::Tensor& b);

/// Adds to the first numbers of a total. Without torch's threads, of which a thread of native stages would
/// start a team of its own; both are contiguous, on the host, and have the same type.
void add(const at::Tensor& tensor, at::Tensor& total);

}  // namespace distmlip::exchange
