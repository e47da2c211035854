// Sums of rows that stand anywhere, rows that are added to others, and what they are weighted with.
#pragma once

#include "kernels/irreps/vectors_inline.h"

namespace distmlip::kernels::irreps {
namespace {

/// Calls f with the number of channels: as a constant, where it is a common one, so that loops are unrolled.
template <class F>
DISTMLIP_INLINE void with_channels(int n, F f) {
  if (n == 64)
    f(std::integral_constant<int, 64>());
  else if (n == 128)
    f(std::integral_constant<int, 128>());
  else
    f(n);
}

/// The same with numbers of sources or targets.
template <class F>
DISTMLIP_INLINE void with_number(int n, F f) {
  if (n == 3)
    f(std::integral_constant<int, 3>());
  else if (n == 4)
    f(std::integral_constant<int, 4>());
  else
    f(n);
}

template <class T, class N>
DISTMLIP_INLINE Vec<T> sum_at(const T* const* sources, N n_sources, int c) {
  Vec<T> sum = load<T>(sources[0] + c);
  for (int k = 1; k < n_sources; ++k) sum += load<T>(sources[k] + c);
  return sum;
}

template <class T>
void sum_rows(int n_rows, int n, int n_sources, const T* const* sources, T* out) {
  with_number(n_sources, [&](auto number) __attribute__((always_inline)) {
    for (int row = 0; row < n_rows; ++row, sources += number, out += n)
      for (int c = 0; c < n; c += lanes<T>) store<T>(out + c, sum_at<T>(sources, number, c));
  });
}

template <class T>
void weigh(int n_rows, int n, const T* x, const T* const* weights, T* const* out) {
  with_channels(n, [&](auto channels) __attribute__((always_inline)) {
    for (int row = 0; row < n_rows; ++row, x += n) {
      const T *a = weights[2 * row], *b = weights[2 * row + 1];
      T* to = out[row];
      for (int c = 0; c < channels; c += lanes<T>) {
        Vec<T> y = load<T>(x + c) * load<T>(a + c);
        if (b != nullptr) y *= load<T>(b + c);
        store<T>(to + c, load<T>(to + c) + y);
      }
    }
  });
}

template <class T>
void weigh_back(int n_rows, int n, T* x, const T* const* gradients, const T* const* weights,
                T* const* weight_gradients) {
  with_channels(n, [&](auto channels) __attribute__((always_inline)) {
    for (int row = 0; row < n_rows; ++row, x += n) {
      const T *a = weights[2 * row], *b = weights[2 * row + 1], *g = gradients[row];
      T *of_a = weight_gradients[2 * row], *of_b = weight_gradients[2 * row + 1];
      for (int c = 0; c < channels; c += lanes<T>) {
        const Vec<T> given = load<T>(g + c), by_x = given * load<T>(x + c), first = load<T>(a + c);
        if (b == nullptr) {
          store<T>(of_a + c, load<T>(of_a + c) + by_x);
          store<T>(x + c, given * first);
        } else {
          const Vec<T> second = load<T>(b + c);
          store<T>(of_a + c, load<T>(of_a + c) + by_x * second);
          store<T>(of_b + c, load<T>(of_b + c) + by_x * first);
          store<T>(x + c, given * first * second);
        }
      }
    }
  });
}

template <class T>
void add_to_rows(int n_rows, int n, T* x, const T* slopes, int n_targets, T* const* targets) {
  with_number(n_targets, [&](auto number) __attribute__((always_inline)) {
    for (int row = 0; row < n_rows; ++row, x += n, targets += number) {
      for (int c = 0; c < n; c += lanes<T>) {
        Vec<T> value = load<T>(x + c);
        if (slopes != nullptr) {
          value *= load<T>(slopes + row * n + c);
          store<T>(x + c, value);
        }
        for (int k = 0; k < number; ++k) store<T>(targets[k] + c, load<T>(targets[k] + c) + value);
      }
    }
  });
}

template <class T>
void add_dots(int n_rows, int n, const T* a, std::ptrdiff_t a_stride, const T* b, std::ptrdiff_t b_stride,
              T* out) {
  for (int row = 0; row < n_rows; ++row, a += a_stride, b += b_stride) {
    Vec<T> sum = {};
    for (int c = 0; c < n; c += lanes<T>) sum += load<T>(a + c) * load<T>(b + c);
    T total[1 + lanes<T>];
    sums_of_lanes<T, 1>(&sum, total);
    out[row] += total[0];
  }
}

}  // namespace
}  // namespace distmlip::kernels::irreps
