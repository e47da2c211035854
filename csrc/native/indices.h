// Indices in tensors of a graph.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "core/error.h"

namespace distmlip::native {

/// In memory of somebody else.
struct Indices {
  const int64_t* data;
  int64_t n;
  /// Throws std::invalid_argument if the index is none of so many.
  int64_t at(int64_t k, int64_t limit) const {
    if (data[k] < 0 || data[k] >= limit) invalid("index ", data[k], " of ", limit);
    return data[k];
  }
};

/// Throws std::invalid_argument unless they are contiguous, int64 and on the host; `name` is for its message.
inline Indices indices_of(const at::Tensor& tensor, const char* name) {
  if (!tensor.defined() || !tensor.device().is_cpu() || tensor.scalar_type() != at::kLong ||
      !tensor.is_contiguous() || tensor.dim() > 2)
    invalid(name, " must be contiguous int64 numbers on the host");
  return {tensor.const_data_ptr<int64_t>(), tensor.numel()};
}

/// Of so many, all of them indices below the limit.
inline const int64_t* indices_of(const at::Tensor& tensor, int64_t n, int64_t limit, const char* name) {
  const Indices all = indices_of(tensor, name);
  if (all.n != n) invalid(name, " has ", all.n, " numbers; there must be ", n);
  for (int64_t k = 0; k < n; ++k) all.at(k, limit);
  return all.data;
}

}  // namespace distmlip::native
