// Tensors of stages on one partition.
#pragma once

#include <algorithm>
#include <string>

#include "core/error.h"
#include "exchange/host_tensors.h"
#include "executor/native_stage.h"

namespace distmlip::native {

/// What a stage is given, or its gradients: checked where it is read.
template <class T>
class Given {
 public:
  /// Throws std::invalid_argument unless vectors are (n_edges, 3), contiguous, in the stage's dtype and on
  /// the host; other tensors may have any strides.
  Given(const at::Tensor& vectors, executor::Tensors tensors)
      : vectors_(vectors), tensors_(std::move(tensors)) {
    if (!vectors.defined() || !vectors.device().is_cpu() ||
        vectors.scalar_type() != c10::CppTypeToScalarType<T>::value || !vectors.is_contiguous() ||
        vectors.dim() != 2 || vectors.size(1) != 3)
      invalid("vectors must be contiguous, (n_edges, 3), in the stage's dtype and on the host");
    for (auto& [name, tensor] : tensors_)
      if (tensor.defined()) tensor = tensor.contiguous();
  }

  bool has(const std::string& name) const {
    const auto found = tensors_.find(name);
    return found != tensors_.end() && found->second.defined();
  }
  const executor::Tensors& tensors() const { return tensors_; }

  /// Throws std::invalid_argument if it is not there, or has another shape.
  const T* rows(const std::string& name, int64_t n_rows, int64_t width) const {
    const auto found = tensors_.find(name);
    if (found == tensors_.end() || !found->second.defined()) invalid("there is no '", name, "'");
    const at::Tensor& given = found->second;
    if (given.scalar_type() != vectors_.scalar_type() || !given.device().is_cpu() ||
        given.numel() != n_rows * width || (given.dim() > 0 && given.size(0) != n_rows))
      invalid("'", name, "' must be (", n_rows, ", ", width, ") in the stage's dtype on the host");
    return given.const_data_ptr<T>();
  }
  /// Null if it is not there.
  const T* rows_or_null(const std::string& name, int64_t n_rows, int64_t width) const {
    return has(name) ? rows(name, n_rows, width) : nullptr;
  }

  at::Tensor empty(int64_t n, int64_t width) const { return exchange::empty({n, width}, vectors_.options()); }
  at::Tensor zeros(int64_t n, int64_t width) const {
    at::Tensor rows = empty(n, width);
    std::fill_n(data(rows), rows.numel(), T(0));
    return rows;
  }
  /// Of rows that may be null: zeros.
  at::Tensor copy(const T* rows, int64_t n, int64_t width) const {
    if (rows == nullptr) return zeros(n, width);
    at::Tensor copied = empty(n, width);
    std::copy_n(rows, n * width, data(copied));
    return copied;
  }
  static T* data(at::Tensor& tensor) { return tensor.template mutable_data_ptr<T>(); }

 private:
  at::Tensor vectors_;
  executor::Tensors tensors_;
};

template <class T>
void add(const T* rows, int64_t n, T* to) {
  for (int64_t k = 0; k < n; ++k) to[k] += rows[k];
}

}  // namespace distmlip::native
