// Gated perceptrons on rows [core | gate] of edges and angles, and their adjoints.
#pragma once

#include <algorithm>
#include <cmath>

#include "kernels/irreps/exponential_inline.h"
#include "kernels/irreps/row_sums_inline.h"

namespace distmlip::kernels::irreps {
namespace {

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

}  // namespace
}  // namespace distmlip::kernels::irreps
