// Gated perceptrons on rows [core | gate] of edges and angles, and their adjoints.
#pragma once

#include <cmath>

#include "kernels/irreps/vectors_inline.h"

namespace distmlip::kernels::irreps {
namespace {

/// Calls f with the number of channels; as a constant, where it is a common one: loops are unrolled then.
template <class F>
DISTMLIP_INLINE void with_channels(int n, F f) {
  if (n == 64)
    f(std::integral_constant<int, 64>());
  else if (n == 128)
    f(std::integral_constant<int, 128>());
  else
    f(n);
}

template <class T>
DISTMLIP_INLINE Vec<T> sigmoid(Vec<T> x) {
  return T(1) / (exponential(-x) + T(1));
}

template <class T>
DISTMLIP_INLINE Vec<T> sum_at(const T* const* sources, int n_sources, int c) {
  Vec<T> sum = load<T>(sources[0] + c);
  for (int k = 1; k < n_sources; ++k) sum += load<T>(sources[k] + c);
  return sum;
}

template <class T>
void sum_rows(int n_rows, int n, int n_sources, const T* const* sources, T* out) {
  with_channels(n, [&](auto channels) __attribute__((always_inline)) {
    for (int row = 0; row < n_rows; ++row, sources += n_sources, out += n)
      for (int c = 0; c < channels; c += lanes<T>) store<T>(out + c, sum_at<T>(sources, n_sources, c));
  });
}

template <class T>
void silu_of_sums(int n_rows, int n, int n_sources, const T* const* sources, T* out, T* slopes) {
  with_channels(n, [&](auto channels) __attribute__((always_inline)) {
    for (int row = 0; row < n_rows; ++row, sources += n_sources, out += n) {
      for (int c = 0; c < channels; c += lanes<T>) {
        const Vec<T> x = sum_at<T>(sources, n_sources, c), s = sigmoid<T>(x), y = x * s;
        store<T>(out + c, y);
        if (slopes != nullptr) store<T>(slopes + row * n + c, s + y * (T(1) - s));
      }
    }
  });
}

/// Reciprocal roots of the mean squares of both halves of every row; `roots` has a vector of room behind.
template <class T>
void find_roots(int n_rows, int width, T epsilon, const T* x, T* roots) {
  for (int first = 0; first < n_rows; first += 4) {
    Vec<T> squares[8] = {};
    for (int row = first; row < std::min(n_rows, first + 4); ++row) {
      const T* half = x + static_cast<std::ptrdiff_t>(row) * 2 * width;
      Vec<T> core = {}, gate = {};
      for (int c = 0; c < width; c += lanes<T>) {
        const Vec<T> a = load<T>(half + c), b = load<T>(half + width + c);
        core += a * a;
        gate += b * b;
      }
      squares[2 * (row - first)] = core;
      squares[2 * (row - first) + 1] = gate;
    }
    sums_of_lanes<T, 8>(squares, roots + 2 * first);
  }
  for (int k = 0; k < 2 * n_rows; ++k) roots[k] = T(1) / std::sqrt(roots[k] / T(width) + epsilon);
}

template <class T>
void gated(const Gate<T>& gate, int n_rows, T* x, T* out, T* slopes, T* roots) {
  const T *scales = gate.scales, *shifts = gate.shifts;
  if (scales != nullptr) find_roots(n_rows, gate.width, gate.epsilon, x, roots);
  with_channels(gate.width, [&](auto width) __attribute__((always_inline)) {
    for (int row = 0; row < n_rows; ++row, x += 2 * width, out += width) {
      for (int c = 0; c < width; c += lanes<T>) {
        Vec<T> core = load<T>(x + c), other = load<T>(x + width + c);
        if (scales != nullptr) {
          core *= roots[2 * row];
          other *= roots[2 * row + 1];
          store<T>(x + c, core);
          store<T>(x + width + c, other);
          core = core * load<T>(scales + c) + load<T>(shifts + c);
          other = other * load<T>(scales + width + c) + load<T>(shifts + width + c);
        }
        const Vec<T> s = sigmoid<T>(core), q = sigmoid<T>(other), y = core * s;
        store<T>(out + c, y * q);
        if (slopes == nullptr) continue;
        Vec<T> of_core = q * (s + y * (T(1) - s)), of_gate = y * q * (T(1) - q);
        if (scales != nullptr) {
          of_core *= load<T>(scales + c);
          of_gate *= load<T>(scales + width + c);
        }
        T* to = slopes + static_cast<std::ptrdiff_t>(row) * 2 * width;
        store<T>(to + c, of_core);
        store<T>(to + width + c, of_gate);
      }
    }
  });
}

template <class T>
void gated_back(const Gate<T>& gate, int n_rows, const T* gradients, const T* slopes, const T* roots, T* x) {
  const bool is_normalised = gate.scales != nullptr;
  with_channels(gate.width, [&](auto width) __attribute__((always_inline)) {
    for (int row = 0; row < n_rows; ++row, gradients += width, slopes += 2 * width, x += 2 * width) {
      Vec<T> along[2] = {};
      if (is_normalised) {
        for (int c = 0; c < width; c += lanes<T>) {
          const Vec<T> g = load<T>(gradients + c);
          along[0] += g * load<T>(slopes + c) * load<T>(x + c);
          along[1] += g * load<T>(slopes + width + c) * load<T>(x + width + c);
        }
      }
      T means[2 + lanes<T>];
      sums_of_lanes<T, 2>(along, means);
      const T core_root = is_normalised ? roots[2 * row] : T(1), core_mean = means[0] / T(width);
      const T gate_root = is_normalised ? roots[2 * row + 1] : T(1), gate_mean = means[1] / T(width);
      for (int c = 0; c < width; c += lanes<T>) {
        const Vec<T> g = load<T>(gradients + c);
        Vec<T> core = g * load<T>(slopes + c), other = g * load<T>(slopes + width + c);
        if (is_normalised) {
          core = (core - load<T>(x + c) * core_mean) * core_root;
          other = (other - load<T>(x + width + c) * gate_mean) * gate_root;
        }
        store<T>(x + c, core);
        store<T>(x + width + c, other);
      }
    }
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
  with_channels(n, [&](auto channels) __attribute__((always_inline)) {
    for (int row = 0; row < n_rows; ++row, x += n, targets += n_targets) {
      for (int c = 0; c < channels; c += lanes<T>) {
        Vec<T> value = load<T>(x + c);
        if (slopes != nullptr) {
          value *= load<T>(slopes + row * n + c);
          store<T>(x + c, value);
        }
        for (int k = 0; k < n_targets; ++k)
          store<T>(targets[k] + c, load<T>(targets[k] + c) + value);
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
