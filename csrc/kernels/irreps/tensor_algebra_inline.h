// Tensors of rank two, 3 x 3 numbers for every channel: rows [9][channels] of I, A01, A02, A12, S00, S01,
// S02, S11, S12. A tensor is the sum of I times the identity, a skew-symmetric and a symmetric traceless
// part.
#pragma once

#include "kernels/irreps/harmonics_inline.h"

namespace distmlip::kernels::irreps {
namespace {

template <class T>
struct Tensor {
  Vec<T> of[n_tensor];
};

template <class T>
struct Square {
  Vec<T> at[3][3];
};

template <class T>
DISTMLIP_INLINE Tensor<T> load_tensor(const T* row, int n_channels) {
  Tensor<T> x;
  for (int k = 0; k < n_tensor; ++k) x.of[k] = load<T>(row + k * n_channels);
  return x;
}

template <class T>
DISTMLIP_INLINE void store_tensor(T* row, int n_channels, const Tensor<T>& x) {
  for (int k = 0; k < n_tensor; ++k) store<T>(row + k * n_channels, x.of[k]);
}

template <class T>
DISTMLIP_INLINE void add_tensor(T* row, int n_channels, const Tensor<T>& x) {
  for (int k = 0; k < n_tensor; ++k) store<T>(row + k * n_channels, load<T>(row + k * n_channels) + x.of[k]);
}

template <class T>
DISTMLIP_INLINE Square<T> square_of(const Tensor<T>& x) {
  const auto& [i, a01, a02, a12, s00, s01, s02, s11, s12] = x.of;
  return {{{i + s00, s01 + a01, s02 + a02},
           {s01 - a01, i + s11, s12 + a12},
           {s02 - a02, s12 - a12, i - s00 - s11}}};
}

/// Gradients of the nine numbers from those of the square.
template <class T>
DISTMLIP_INLINE Tensor<T> square_back(const Square<T>& g) {
  return {{g.at[0][0] + g.at[1][1] + g.at[2][2], g.at[0][1] - g.at[1][0], g.at[0][2] - g.at[2][0],
           g.at[1][2] - g.at[2][1], g.at[0][0] - g.at[2][2], g.at[0][1] + g.at[1][0], g.at[0][2] + g.at[2][0],
           g.at[1][1] - g.at[2][2], g.at[1][2] + g.at[2][1]}};
}

template <class T>
DISTMLIP_INLINE Tensor<T> parts_of(const Square<T>& m) {
  const T half = T(0.5);
  const Vec<T> i = (m.at[0][0] + m.at[1][1] + m.at[2][2]) * (T(1) / 3);
  return {{i, half * (m.at[0][1] - m.at[1][0]), half * (m.at[0][2] - m.at[2][0]),
           half * (m.at[1][2] - m.at[2][1]), m.at[0][0] - i, half * (m.at[0][1] + m.at[1][0]),
           half * (m.at[0][2] + m.at[2][0]), m.at[1][1] - i, half * (m.at[1][2] + m.at[2][1])}};
}

/// Gradients of the square from those of its parts.
template <class T>
DISTMLIP_INLINE Square<T> parts_back(const Tensor<T>& g) {
  const auto& [i, a01, a02, a12, s00, s01, s02, s11, s12] = g.of;
  const T half = T(0.5);
  const Vec<T> trace = (i - s00 - s11) * (T(1) / 3);
  return {{{trace + s00, half * (s01 + a01), half * (s02 + a02)},
           {half * (s01 - a01), trace + s11, half * (s12 + a12)},
           {half * (s02 - a02), half * (s12 - a12), trace}}};
}

/// left · right, either of them transposed.
template <class T, bool LEFT, bool RIGHT>
DISTMLIP_INLINE Square<T> product(const Square<T>& left, const Square<T>& right) {
  Square<T> out;
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j) {
      const auto term = [&](int k) __attribute__((always_inline)) {
        return (LEFT ? left.at[k][i] : left.at[i][k]) * (RIGHT ? right.at[j][k] : right.at[k][j]);
      };
      out.at[i][j] = term(0) + term(1) + term(2);
    }
  return out;
}

template <class T>
DISTMLIP_INLINE Square<T> sum(const Square<T>& a, const Square<T>& b) {
  Square<T> out;
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j) out.at[i][j] = a.at[i][j] + b.at[i][j];
  return out;
}

/// Squared norms of the three parts, and their gradient times one of each.
template <class T>
DISTMLIP_INLINE void squared_norms(const Tensor<T>& x, Vec<T>* norms) {
  const auto& [i, a01, a02, a12, s00, s01, s02, s11, s12] = x.of;
  norms[0] = T(3) * i * i;
  norms[1] = T(2) * (a01 * a01 + a02 * a02 + a12 * a12);
  norms[2] = T(2) * (s00 * s00 + s11 * s11 + s00 * s11 + s01 * s01 + s02 * s02 + s12 * s12);
}
template <class T>
DISTMLIP_INLINE Tensor<T> squared_norms_back(const Tensor<T>& x, const Vec<T>* g) {
  const auto& [i, a01, a02, a12, s00, s01, s02, s11, s12] = x.of;
  const Vec<T> of_a = T(4) * g[1], of_s = T(4) * g[2], half = T(2) * g[2];
  return {{T(6) * g[0] * i, of_a * a01, of_a * a02, of_a * a12, of_s * s00 + half * s11, of_s * s01,
           of_s * s02, of_s * s11 + half * s00, of_s * s12}};
}
template <class T>
DISTMLIP_INLINE Vec<T> squared_norm(const Tensor<T>& x) {
  Vec<T> norms[3];
  squared_norms<T>(x, norms);
  return norms[0] + norms[1] + norms[2];
}

template <class T>
DISTMLIP_INLINE Tensor<T> scaled(const Tensor<T>& x, Vec<T> factor) {
  Tensor<T> out;
  for (int k = 0; k < n_tensor; ++k) out.of[k] = factor * x.of[k];
  return out;
}

/// Gradient of x / (1 + |x|²).
template <class T>
DISTMLIP_INLINE Tensor<T> normalised_gradient(const Tensor<T>& x, const Tensor<T>& g) {
  const Vec<T> scale = T(1) / (T(1) + squared_norm<T>(x));
  Vec<T> along = g.of[0] * x.of[0];
  for (int k = 1; k < n_tensor; ++k) along += g.of[k] * x.of[k];
  const Vec<T> of_norm = -along * scale * scale, of_norms[3] = {of_norm, of_norm, of_norm};
  Tensor<T> back = squared_norms_back<T>(x, of_norms);
  for (int k = 0; k < n_tensor; ++k) back.of[k] += scale * g.of[k];
  return back;
}

}  // namespace
}  // namespace distmlip::kernels::irreps
