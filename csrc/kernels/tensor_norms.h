// Norms of tensors of rank two, tensors divided by them, and the adjoints.
#pragma once

#include "kernels/tensor_algebra.h"

namespace distmlip::kernels {
namespace {

/// Those of the three parts.
template <class V>
DISTMLIP_DEVICE DISTMLIP_INLINE Numbers<V, 3> squared_norms(const Tensor<V>& x) {
  const auto& [i, a01, a02, a12, s00, s01, s02, s11, s12] = x.of;
  const Scalar<V> two = 2, three = 3;
  return {{three * i * i, two * (a01 * a01 + a02 * a02 + a12 * a12),
           two * (s00 * s00 + s11 * s11 + s00 * s11 + s01 * s01 + s02 * s02 + s12 * s12)}};
}
/// Their gradient times one of each.
template <class V>
DISTMLIP_DEVICE DISTMLIP_INLINE Tensor<V> squared_norms_back(const Tensor<V>& x, const Numbers<V, 3>& g) {
  const auto& [i, a01, a02, a12, s00, s01, s02, s11, s12] = x.of;
  const Scalar<V> two = 2, four = 4, six = 6;
  const V of_a = four * g.of[1], of_s = four * g.of[2], half = two * g.of[2];
  return {{six * g.of[0] * i, of_a * a01, of_a * a02, of_a * a12, of_s * s00 + half * s11, of_s * s01,
           of_s * s02, of_s * s11 + half * s00, of_s * s12}};
}
template <class V>
DISTMLIP_DEVICE DISTMLIP_INLINE V squared_norm(const Tensor<V>& x) {
  const Numbers<V, 3> norms = squared_norms(x);
  return norms.of[0] + norms.of[1] + norms.of[2];
}

/// x / (1 + |x|²)
template <class V>
DISTMLIP_DEVICE DISTMLIP_INLINE Tensor<V> normalised(const Tensor<V>& x) {
  const V scale = Scalar<V>(1) / (Scalar<V>(1) + squared_norm(x));
  Tensor<V> out;
  for (int k = 0; k < n_tensor; ++k) out.of[k] = scale * x.of[k];
  return out;
}
template <class V>
DISTMLIP_DEVICE DISTMLIP_INLINE Tensor<V> normalised_back(const Tensor<V>& x, const Tensor<V>& g) {
  const V scale = Scalar<V>(1) / (Scalar<V>(1) + squared_norm(x));
  V along = g.of[0] * x.of[0];
  for (int k = 1; k < n_tensor; ++k) along += g.of[k] * x.of[k];
  const V of_norm = -along * scale * scale;
  Tensor<V> back = squared_norms_back(x, Numbers<V, 3>{{of_norm, of_norm, of_norm}});
  for (int k = 0; k < n_tensor; ++k) back.of[k] += scale * g.of[k];
  return back;
}

}  // namespace
}  // namespace distmlip::kernels
