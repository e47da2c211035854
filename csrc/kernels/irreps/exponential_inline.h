// The exponential function of vectors, and sigmoids.
#pragma once

#ifdef __AVX512F__
#include <immintrin.h>
#endif

#include "kernels/irreps/vectors_inline.h"

namespace distmlip::kernels::irreps {
namespace {

/// x, or `most` or `-most` beyond these; NaN where x is.
template <class T>
DISTMLIP_INLINE Vec<T> within(Vec<T> x, T most) {
#ifdef __AVX512F__
  if constexpr (DISTMLIP_VECTOR_BYTES == 64 && sizeof(T) == 4)
    return (Vec<T>)_mm512_max_ps(_mm512_set1_ps(-most), _mm512_min_ps(_mm512_set1_ps(most), (__m512)x));
  if constexpr (DISTMLIP_VECTOR_BYTES == 64 && sizeof(T) == 8)
    return (Vec<T>)_mm512_max_pd(_mm512_set1_pd(-most), _mm512_min_pd(_mm512_set1_pd(most), (__m512d)x));
#endif
  x = x > most ? broadcast(most) : x;
  return x < -most ? broadcast(-most) : x;
}

/// Of x within ±most, which is at most 87.
DISTMLIP_INLINE Vec<float> exponential_within(Vec<float> x, float most) {
  x = within<float>(x, most);
  const float magic = 12582912.0f;  // 1.5 · 2²³: adding it rounds to an integer
  const Vec<float> shifted = x * 1.44269504088896341f + magic, n = shifted - magic;
  Vec<float> r = x - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  Vec<float> p = broadcast(1.9875691500e-4f);
  constexpr float series[] = {
      1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 0.5f, 1.0f, 1.0f};
  for (const float c : series) p = p * r + c;
  using Integers = VectorTypes<float>::Integers;
  return (Vec<float>)((Integers)p + ((Integers)shifted << 23));
}

/// Of x within ±most, which is at most 700.
DISTMLIP_INLINE Vec<double> exponential_within(Vec<double> x, double most) {
  x = within<double>(x, most);
  const double magic = 6755399441055744.0;  // 1.5 · 2⁵²
  const Vec<double> shifted = x * 1.4426950408889634074 + magic;
  const Vec<double> n = shifted - magic;
  Vec<double> r = x - n * 6.93145751953125e-1;
  r = r - n * 1.42860682030941723212e-6;
  Vec<double> p = broadcast(1.0 / 6227020800.0);
  constexpr double series[] = {1.0 / 479001600.0,
                               1.0 / 39916800.0,
                               1.0 / 3628800.0,
                               1.0 / 362880.0,
                               1.0 / 40320.0,
                               1.0 / 5040.0,
                               1.0 / 720.0,
                               1.0 / 120.0,
                               1.0 / 24.0,
                               1.0 / 6.0,
                               0.5,
                               1.0,
                               1.0};
  for (const double c : series) p = p * r + c;
  using Integers = VectorTypes<double>::Integers;
  return (Vec<double>)((Integers)p + ((Integers)shifted << 52));
}

template <class T>
DISTMLIP_INLINE Vec<T> exponential(Vec<T> x) {
  return exponential_within(x, sizeof(T) == 4 ? T(87) : T(700));
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

}  // namespace
}  // namespace distmlip::kernels::irreps
