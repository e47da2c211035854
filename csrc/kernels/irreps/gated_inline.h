// Gated perceptrons on rows [core | gate] of edges and angles, and their adjoints.
#pragma once

#include <algorithm>
#include <cmath>

#include "kernels/irreps/exponential_inline.h"

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

DISTMLIP_INLINE Vec<float> reciprocal_of(Vec<float> x) {
#ifdef __AVX512F__
  if constexpr (DISTMLIP_VECTOR_BYTES == 64) {  // faster than a division, and as exact but for the last bit
    const Vec<float> about = (Vec<float>)_mm512_rcp14_ps((__m512)x);
    return about + about * (1.0f - x * about);
  }
#endif
  return 1.0f / x;
}
DISTMLIP_INLINE Vec<double> reciprocal_of(Vec<double> x) { return 1.0 / x; }

/// Of two at a time: they share a division, which is slow.
template <class T>
DISTMLIP_INLINE void sigmoids(Vec<T> a, Vec<T> b, Vec<T>& of_a, Vec<T>& of_b) {
  constexpr T most = sizeof(T) == 4 ? T(43) : T(350);  // so that the product is no infinity
  const Vec<T> one = exponential_within(-a, most) + T(1), other = exponential_within(-b, most) + T(1);
  const Vec<T> reciprocal = reciprocal_of(one * other);
  of_a = reciprocal * other;
  of_b = reciprocal * one;
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

template <class T, bool WITH_SLOPES>
DISTMLIP_INLINE void store_silu(Vec<T> x, Vec<T> sigmoid, T* out, T* slopes) {
  const Vec<T> y = x * sigmoid;
  store<T>(out, y);
  if constexpr (WITH_SLOPES) store<T>(slopes, sigmoid + y * (T(1) - sigmoid));
}

template <class T, bool WITH_SLOPES>
void silu_of_sums(int n_rows, int n, int n_sources, const T* const* sources, T* out, T* slopes) {
  with_number(n_sources, [&](auto number) __attribute__((always_inline)) {
    for (int row = 0; row < n_rows; ++row, sources += number, out += n, slopes += n) {
      for (int c = 0; c < n; c += 2 * lanes<T>) {
        const int second = std::min(c + lanes<T>, n - lanes<T>);  // c, if that is the last one
        const Vec<T> x = sum_at<T>(sources, number, c), y = sum_at<T>(sources, number, second);
        Vec<T> of_x, of_y;
        sigmoids<T>(x, y, of_x, of_y);
        store_silu<T, WITH_SLOPES>(x, of_x, out + c, slopes + c);
        store_silu<T, WITH_SLOPES>(y, of_y, out + second, slopes + second);
      }
    }
  });
}
template <class T>
void silu_of_sums(int n_rows, int n, int n_sources, const T* const* sources, T* out, T* slopes) {
  if (slopes == nullptr)
    silu_of_sums<T, false>(n_rows, n, n_sources, sources, out, out);  // nothing is written there
  else
    silu_of_sums<T, true>(n_rows, n, n_sources, sources, out, slopes);
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

template <class T, bool IS_NORMALISED, bool WITH_SLOPES>
void gated(const Gate<T>& gate, int n_rows, T* x, T* out, T* slopes, const T* roots) {
  const T *scales = gate.scales, *shifts = gate.shifts;
  with_channels(gate.width, [&](auto width) __attribute__((always_inline)) {
    for (int row = 0; row < n_rows; ++row, x += 2 * width, out += width, slopes += 2 * width) {
      for (int c = 0; c < width; c += lanes<T>) {
        Vec<T> core = load<T>(x + c), other = load<T>(x + width + c);
        if constexpr (IS_NORMALISED) {
          core *= roots[2 * row];
          other *= roots[2 * row + 1];
          if constexpr (WITH_SLOPES) {
            store<T>(x + c, core);
            store<T>(x + width + c, other);
          }
          core = core * load<T>(scales + c) + load<T>(shifts + c);
          other = other * load<T>(scales + width + c) + load<T>(shifts + width + c);
        }
        Vec<T> s, q;
        sigmoids<T>(core, other, s, q);
        const Vec<T> y = core * s, z = y * q;
        store<T>(out + c, z);
        if constexpr (WITH_SLOPES) {
          Vec<T> of_core = q * (s + y * (T(1) - s)), of_gate = z * (T(1) - q);
          if constexpr (IS_NORMALISED) {
            of_core *= load<T>(scales + c);
            of_gate *= load<T>(scales + width + c);
          }
          store<T>(slopes + c, of_core);
          store<T>(slopes + width + c, of_gate);
        }
      }
    }
  });
}
template <class T>
void gated(const Gate<T>& gate, int n_rows, T* x, T* out, T* slopes, T* roots) {
  const bool with_slopes = slopes != nullptr;
  if (!with_slopes) slopes = x;  // nothing is written there
  if (gate.scales != nullptr) {
    find_roots(n_rows, gate.width, gate.epsilon, x, roots);
    (with_slopes ? gated<T, true, true> : gated<T, true, false>)(gate, n_rows, x, out, slopes, roots);
  } else {
    (with_slopes ? gated<T, false, true> : gated<T, false, false>)(gate, n_rows, x, out, slopes, roots);
  }
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
