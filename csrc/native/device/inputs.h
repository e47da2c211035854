// What the operators on devices share: checks of tensors, and lists in a device's memory.
#pragma once

#include <ATen/ATen.h>

#include <algorithm>
#include <vector>

#include "core/error.h"

namespace distmlip::native {

/// Throws std::invalid_argument unless a tensor is contiguous, of this shape, and of the type and on the
/// device of another one.
inline void check(const char* name, const at::Tensor& tensor, at::IntArrayRef shape, const at::Tensor& like) {
  if (tensor.sizes() != shape) invalid(name, " must have the shape ", shape, ", not ", tensor.sizes());
  if (tensor.scalar_type() != like.scalar_type() || tensor.device() != like.device())
    invalid(name, " is ", toString(tensor.scalar_type()), " on ", tensor.device().str(),
            ", other tensors are ", toString(like.scalar_type()), " on ", like.device().str());
  if (!tensor.is_contiguous()) invalid(name, " must be contiguous");
}

inline void check_indices(const char* name, const at::Tensor& tensor, int64_t end) {
  if (tensor.dim() != 1 || tensor.scalar_type() != at::kLong || !tensor.is_contiguous())
    invalid(name, " must be a contiguous 1-D int64 tensor");
  if (tensor.numel() == 0) return;
  const auto least = tensor.min().item<int64_t>(), most = tensor.max().item<int64_t>();
  if (least < 0 || most >= end) invalid(name, " reach from ", least, " to ", most, ", but there are ", end);
}

/// Calls f with a number of the type that the tensor has.
template <class F>
void of_type(const at::Tensor& tensor, F f) {
  if (tensor.scalar_type() == at::kFloat) return f(float());
  if (tensor.scalar_type() == at::kDouble) return f(double());
  invalid("tensors are ", toString(tensor.scalar_type()), "; operators know float32 and float64");
}

/// The bytes of a list, on a device.
template <class T>
at::Tensor bytes_of(const std::vector<T>& list, at::Device device) {
  const at::Tensor bytes = at::empty(static_cast<int64_t>(list.size() * sizeof(T)), at::kByte);
  std::copy_n(reinterpret_cast<const uint8_t*>(list.data()), list.size() * sizeof(T),
              bytes.mutable_data_ptr<uint8_t>());
  return bytes.to(device);
}

template <class T>
const T* list_in(const at::Tensor& bytes) {
  return static_cast<const T*>(bytes.const_data_ptr());
}

}  // namespace distmlip::native
