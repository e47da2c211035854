// Layer normalisation of rows, and its adjoint.
#pragma once

#include <cmath>

#include "kernels/irreps/row_sums_inline.h"

namespace distmlip::kernels::irreps {
namespace {

template <class T>
DISTMLIP_INLINE T sum_of_lanes(Vec<T> x) {
  T total[1 + lanes<T>];
  sums_of_lanes<T, 1>(&x, total);
  return total[0];
}

template <class T>
void layer_norm(int n_rows, int n, const T* scales, const T* shifts, T epsilon, T* x, T* kept, T* roots) {
  with_channels(n, [&](auto channels) __attribute__((always_inline)) {
    for (int row = 0; row < n_rows; ++row, x += n) {
      Vec<T> sum = {}, squares = {};
      for (int c = 0; c < channels; c += lanes<T>) sum += load<T>(x + c);
      const T mean = sum_of_lanes<T>(sum) / T(n);
      for (int c = 0; c < channels; c += lanes<T>) {
        const Vec<T> from_mean = load<T>(x + c) - mean;
        squares += from_mean * from_mean;
      }
      const T scale = T(1) / std::sqrt(sum_of_lanes<T>(squares) / T(n) + epsilon);
      roots[row] = scale;
      for (int c = 0; c < channels; c += lanes<T>) {
        const Vec<T> normalised = (load<T>(x + c) - mean) * scale;
        if (kept != nullptr) store<T>(kept + row * n + c, normalised);
        store<T>(x + c, normalised * load<T>(scales + c) + load<T>(shifts + c));
      }
    }
  });
}

template <class T>
void layer_norm_back(int n_rows, int n, const T* scales, const T* kept, const T* roots, T* gradients) {
  with_channels(n, [&](auto channels) __attribute__((always_inline)) {
    for (int row = 0; row < n_rows; ++row, gradients += n, kept += n) {
      Vec<T> sum = {}, along = {};
      for (int c = 0; c < channels; c += lanes<T>) {
        const Vec<T> scaled = load<T>(gradients + c) * load<T>(scales + c);
        sum += scaled;
        along += scaled * load<T>(kept + c);
      }
      const T mean = sum_of_lanes<T>(sum) / T(n), of_along = sum_of_lanes<T>(along) / T(n);
      for (int c = 0; c < channels; c += lanes<T>)
        store<T>(gradients + c,
                 (load<T>(gradients + c) * load<T>(scales + c) - mean - load<T>(kept + c) * of_along) *
                     roots[row]);
    }
  });
}

}  // namespace
}  // namespace distmlip::kernels::irreps
