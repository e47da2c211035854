// Tensors of rank two, 3 x 3 numbers for every channel: rows [9][channels] of I, A01, A02, A12, S00, S01,
// S02, S11, S12. A tensor is the sum of I times the identity, a skew-symmetric and a symmetric traceless
// part. Everything is a template of V: a number, of one channel, or a vector of those of several.
#pragma once

#include <type_traits>

#include "kernels/device/code.h"

namespace distmlip::kernels {

constexpr int n_tensor = 9;  ///< numbers of a tensor

namespace {

/// N numbers of a channel.
template <class V, int N>
struct Numbers {
  V of[N];
};
template <class V>
using Tensor = Numbers<V, n_tensor>;

template <class V>
struct Square {
  V at[3][3];
};

template <class V>
struct ScalarOf {
  using Type = std::decay_t<decltype(V{}[0])>;
};
template <>
struct ScalarOf<float> {
  using Type = float;
};
template <>
struct ScalarOf<double> {
  using Type = double;
};
/// What V consists of.
template <class V>
using Scalar = typename ScalarOf<V>::Type;

template <class V>
DISTMLIP_DEVICE DISTMLIP_INLINE Square<V> square_of(const Tensor<V>& x) {
  const auto& [i, a01, a02, a12, s00, s01, s02, s11, s12] = x.of;
  return {{{i + s00, s01 + a01, s02 + a02},
           {s01 - a01, i + s11, s12 + a12},
           {s02 - a02, s12 - a12, i - s00 - s11}}};
}

/// Gradients of the nine numbers from those of the square.
template <class V>
DISTMLIP_DEVICE DISTMLIP_INLINE Tensor<V> square_back(const Square<V>& g) {
  return {{g.at[0][0] + g.at[1][1] + g.at[2][2], g.at[0][1] - g.at[1][0], g.at[0][2] - g.at[2][0],
           g.at[1][2] - g.at[2][1], g.at[0][0] - g.at[2][2], g.at[0][1] + g.at[1][0], g.at[0][2] + g.at[2][0],
           g.at[1][1] - g.at[2][2], g.at[1][2] + g.at[2][1]}};
}

template <class V>
DISTMLIP_DEVICE DISTMLIP_INLINE Tensor<V> parts_of(const Square<V>& m) {
  const auto half = Scalar<V>(0.5);
  const V i = (m.at[0][0] + m.at[1][1] + m.at[2][2]) * (Scalar<V>(1) / 3);
  return {{i, half * (m.at[0][1] - m.at[1][0]), half * (m.at[0][2] - m.at[2][0]),
           half * (m.at[1][2] - m.at[2][1]), m.at[0][0] - i, half * (m.at[0][1] + m.at[1][0]),
           half * (m.at[0][2] + m.at[2][0]), m.at[1][1] - i, half * (m.at[1][2] + m.at[2][1])}};
}

/// Gradients of the square from those of its parts.
template <class V>
DISTMLIP_DEVICE DISTMLIP_INLINE Square<V> parts_back(const Tensor<V>& g) {
  const auto& [i, a01, a02, a12, s00, s01, s02, s11, s12] = g.of;
  const auto half = Scalar<V>(0.5);
  const V trace = (i - s00 - s11) * (Scalar<V>(1) / 3);
  return {{{trace + s00, half * (s01 + a01), half * (s02 + a02)},
           {half * (s01 - a01), trace + s11, half * (s12 + a12)},
           {half * (s02 - a02), half * (s12 - a12), trace}}};
}

/// left · right, either of them transposed.
template <bool LEFT, bool RIGHT, class V>
DISTMLIP_DEVICE DISTMLIP_INLINE Square<V> product(const Square<V>& left, const Square<V>& right) {
  Square<V> out;
  for (int i = 0; i < 3; ++i) {
    for (int j = 0; j < 3; ++j) {
      V terms[3];
      for (int k = 0; k < 3; ++k)
        terms[k] = (LEFT ? left.at[k][i] : left.at[i][k]) * (RIGHT ? right.at[j][k] : right.at[k][j]);
      out.at[i][j] = terms[0] + terms[1] + terms[2];
    }
  }
  return out;
}

template <class V>
DISTMLIP_DEVICE DISTMLIP_INLINE Square<V> sum(const Square<V>& a, const Square<V>& b) {
  Square<V> out;
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j) out.at[i][j] = a.at[i][j] + b.at[i][j];
  return out;
}
template <class V>
DISTMLIP_DEVICE DISTMLIP_INLINE Tensor<V> sum(const Tensor<V>& a, const Tensor<V>& b) {
  Tensor<V> out;
  for (int k = 0; k < n_tensor; ++k) out.of[k] = a.of[k] + b.of[k];
  return out;
}

}  // namespace
}  // namespace distmlip::kernels
