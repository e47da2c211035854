// Functions of one tensor of rank two, or of two, and their adjoints. `reads_back`: whether the adjoint reads
// the (first) tensor; if not, it may be given anything.
#pragma once

#include "kernels/tensor_norms.h"

namespace distmlip::kernels {
namespace {

/// From real spherical harmonics of degree 0, 1 and 2 in e3nn's order and component normalisation.
struct OfHarmonics {
  static constexpr int n_outputs = n_tensor;
  static constexpr bool reads_back = false;
  static constexpr double of_vector = 0.57735026918962576451;  // 1/√3
  static constexpr double of_tensor = 0.25819888974716112568;  // 1/√15
  static constexpr double third = 0.29814239699997195952;      // 2/(3√5)

  template <class V>
  DISTMLIP_DEVICE static DISTMLIP_INLINE Tensor<V> of(const Tensor<V>& h) {
    const auto v = Scalar<V>(of_vector), t = Scalar<V>(of_tensor), half = Scalar<V>(-0.5);
    const V yy = Scalar<V>(third) * h.of[6], difference = Scalar<V>(2 * of_tensor) * h.of[8];  // S22 - S00
    return {{h.of[0], -v * h.of[3], v * h.of[2], -v * h.of[1], half * (yy + difference), t * h.of[5],
             t * h.of[4], yy, t * h.of[7]}};
  }
  template <class V>
  DISTMLIP_DEVICE static DISTMLIP_INLINE Tensor<V> back(const Tensor<V>& /*h*/, const Tensor<V>& g) {
    const auto& [i, a01, a02, a12, s00, s01, s02, s11, s12] = g.of;
    const auto v = Scalar<V>(of_vector), t = Scalar<V>(of_tensor), half = Scalar<V>(0.5);
    return {{i, -v * a12, v * a02, -v * a01, t * s02, t * s01, Scalar<V>(third) * (s11 - half * s00), t * s12,
             -t * s00}};
  }
};

/// Squared.
struct Norm {
  static constexpr int n_outputs = 1;
  static constexpr bool reads_back = true;

  template <class V>
  DISTMLIP_DEVICE static DISTMLIP_INLINE Numbers<V, 1> of(const Tensor<V>& x) {
    return {{squared_norm(x)}};
  }
  template <class V>
  DISTMLIP_DEVICE static DISTMLIP_INLINE Tensor<V> back(const Tensor<V>& x, const Numbers<V, 1>& g) {
    return squared_norms_back(x, Numbers<V, 3>{{g.of[0], g.of[0], g.of[0]}});
  }
};

/// Those of the three parts.
struct Norms {
  static constexpr int n_outputs = 3;
  static constexpr bool reads_back = true;

  template <class V>
  DISTMLIP_DEVICE static DISTMLIP_INLINE Numbers<V, 3> of(const Tensor<V>& x) {
    return squared_norms(x);
  }
  template <class V>
  DISTMLIP_DEVICE static DISTMLIP_INLINE Tensor<V> back(const Tensor<V>& x, const Numbers<V, 3>& g) {
    return squared_norms_back(x, g);
  }
};

struct Normalised {
  static constexpr int n_outputs = n_tensor;
  static constexpr bool reads_back = true;

  template <class V>
  DISTMLIP_DEVICE static DISTMLIP_INLINE Tensor<V> of(const Tensor<V>& x) {
    return normalised(x);
  }
  template <class V>
  DISTMLIP_DEVICE static DISTMLIP_INLINE Tensor<V> back(const Tensor<V>& x, const Tensor<V>& g) {
    return normalised_back(x, g);
  }
};

/// Gradients of two tensors.
template <class V>
struct BothBack {
  Tensor<V> a, b;
};

/// a · b + b · a, or 2 a · b, normalised.
template <bool BOTH>
struct NormalisedProduct {
  static constexpr bool reads_back = true;

  template <class V>
  DISTMLIP_DEVICE static DISTMLIP_INLINE Tensor<V> of(const Tensor<V>& a, const Tensor<V>& b) {
    return normalised(doubled(square_of(a), square_of(b)));
  }
  template <class V>
  DISTMLIP_DEVICE static DISTMLIP_INLINE BothBack<V> back(const Tensor<V>& a, const Tensor<V>& b,
                                                          const Tensor<V>& gradient) {
    const Square<V> left = square_of(a), right = square_of(b);
    const Square<V> g = parts_back(normalised_back(doubled(left, right), gradient));
    const Square<V> of_left = product<false, true>(g, right), of_right = product<true, false>(left, g);
    return {square_back(sum(of_left, BOTH ? product<true, false>(right, g) : of_left)),
            square_back(sum(of_right, BOTH ? product<false, true>(g, left) : of_right))};
  }

 private:
  template <class V>
  DISTMLIP_DEVICE static DISTMLIP_INLINE Tensor<V> doubled(const Square<V>& a, const Square<V>& b) {
    const Square<V> ab = product<false, false>(a, b);
    return parts_of(sum(ab, BOTH ? product<false, false>(b, a) : ab));
  }
};
using Anticommutator = NormalisedProduct<true>;
using TwiceProduct = NormalisedProduct<false>;

/// a + b + b · b
struct PlusSquare {
  static constexpr bool reads_back = false;

  template <class V>
  DISTMLIP_DEVICE static DISTMLIP_INLINE Tensor<V> of(const Tensor<V>& a, const Tensor<V>& b) {
    const Square<V> square = square_of(b);
    return sum(parts_of(product<false, false>(square, square)), sum(a, b));
  }
  template <class V>
  DISTMLIP_DEVICE static DISTMLIP_INLINE BothBack<V> back(const Tensor<V>& /*a*/, const Tensor<V>& b,
                                                          const Tensor<V>& gradient) {
    const Square<V> square = square_of(b), g = parts_back(gradient);
    return {gradient, sum(square_back(sum(product<false, true>(g, square), product<true, false>(square, g))),
                          gradient)};
  }
};

}  // namespace
}  // namespace distmlip::kernels
