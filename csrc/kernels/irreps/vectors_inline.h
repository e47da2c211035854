// Vectors of DISTMLIP_VECTOR_BYTES by the compiler's extensions. Everything that is compiled more than once
// has internal linkage: the linker must not take one instruction set's copy for all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include "kernels/irreps/operators.h"

#ifndef DISTMLIP_VECTOR_BYTES
#error "include this from a file that is compiled for one instruction set"
#endif

#define DISTMLIP_INLINE inline __attribute__((always_inline))

namespace distmlip::kernels::irreps {
namespace {

template <class T>
struct VectorTypes;
template <>
struct VectorTypes<float> {
  typedef float Vector __attribute__((vector_size(DISTMLIP_VECTOR_BYTES)));
  typedef float Unaligned __attribute__((vector_size(DISTMLIP_VECTOR_BYTES), aligned(4), may_alias));
  typedef int32_t Integers __attribute__((vector_size(DISTMLIP_VECTOR_BYTES)));
};
template <>
struct VectorTypes<double> {
  typedef double Vector __attribute__((vector_size(DISTMLIP_VECTOR_BYTES)));
  typedef double Unaligned __attribute__((vector_size(DISTMLIP_VECTOR_BYTES), aligned(8), may_alias));
  typedef int64_t Integers __attribute__((vector_size(DISTMLIP_VECTOR_BYTES)));
};

template <class T>
using Vec = typename VectorTypes<T>::Vector;
template <class T>
constexpr int lanes = DISTMLIP_VECTOR_BYTES / sizeof(T);
constexpr bool has_32_registers = DISTMLIP_VECTOR_BYTES == 64;
/// Vectors in a panel of a packed matrix.
constexpr int panel = has_32_registers ? 4 : 2;

template <class T>
DISTMLIP_INLINE Vec<T> load(const T* from) {
  return *reinterpret_cast<const typename VectorTypes<T>::Unaligned*>(from);
}
template <class T>
DISTMLIP_INLINE void store(T* to, Vec<T> value) {
  *reinterpret_cast<typename VectorTypes<T>::Unaligned*>(to) = value;
}
/// GCC 12 makes more of `Vec{} + x` than one broadcast.
template <class T>
DISTMLIP_INLINE Vec<T> broadcast(T value) {
  return value - Vec<T>{};
}

#ifdef __clang__
template <class T, int... K>
DISTMLIP_INLINE Vec<T> add_neighbours(Vec<T> a, Vec<T> b, std::integer_sequence<int, K...> /*lanes*/) {
  return __builtin_shufflevector(a, b, (2 * K)...) + __builtin_shufflevector(a, b, (2 * K + 1)...);
}
template <class T>
DISTMLIP_INLINE Vec<T> add_neighbours(Vec<T> a, Vec<T> b) {
  return add_neighbours<T>(a, b, std::make_integer_sequence<int, lanes<T>>());
}
#else  // [a0 + a1, a2 + a3, …, b0 + b1, …]
template <class T>
DISTMLIP_INLINE Vec<T> add_neighbours(Vec<T> a, Vec<T> b) {
  typename VectorTypes<T>::Integers even, odd;
  for (int k = 0; k < lanes<T>; ++k) {
    even[k] = 2 * k;
    odd[k] = 2 * k + 1;
  }
  return __builtin_shuffle(a, b, even) + __builtin_shuffle(a, b, odd);
}
#endif

template <class T, int N>
DISTMLIP_INLINE Vec<T> add_tree(const Vec<T>* a, int n) {
  if constexpr (N == 1)
    return n > 0 ? a[0] : Vec<T>{};
  else
    return add_neighbours<T>(add_tree<T, N / 2>(a, n), add_tree<T, N / 2>(a + N / 2, n - N / 2));
}

constexpr int power_of_two_within(int n) {
  int p = 1;
  while (2 * p <= n) p *= 2;
  return p;
}

/// out[k] = the sum of a[k]'s lanes, k < N. Writes up to a vector past out + N.
template <class T, int N>
DISTMLIP_INLINE void sums_of_lanes(const Vec<T>* a, T* out) {
  constexpr int p = power_of_two_within(N);
  constexpr int wide = (2 * p <= lanes<T> && 4 * N >= 7 * p && N > p) ? 2 * p : p;
  constexpr int n = wide > lanes<T> ? lanes<T> : wide;
  Vec<T> sums = add_tree<T, n>(a, N);
  for (int k = n; k < lanes<T>; k *= 2) sums = add_neighbours<T>(sums, sums);
  store<T>(out, sums);
  if constexpr (N > n) sums_of_lanes<T, N - n>(a + n, out + n);
}

DISTMLIP_INLINE Vec<float> exponential(Vec<float> x) {
  using Integers = VectorTypes<float>::Integers;
  x = x > 88.0f ? broadcast(88.0f) : x;
  x = x < -87.0f ? broadcast(-87.0f) : x;
  const float magic = 12582912.0f;  // 1.5 · 2²³: adding it rounds to an integer
  const Vec<float> n = (x * 1.44269504088896341f + magic) - magic;
  Vec<float> r = x - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  Vec<float> p = broadcast(1.9875691500e-4f);
  constexpr float series[] = {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 0.5f};
  for (const float c : series) p = p * r + c;
  p = p * (r * r) + r + 1.0f;
  const Integers exponent = (__builtin_convertvector(n, Integers) + 127) << 23;
  return p * (Vec<float>)exponent;
}

DISTMLIP_INLINE Vec<double> exponential(Vec<double> x) {
  using Integers = VectorTypes<double>::Integers;
  x = x > 700.0 ? broadcast(700.0) : x;
  x = x < -700.0 ? broadcast(-700.0) : x;
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
  const Integers exponent = (((Integers)shifted - (Integers)broadcast(magic)) + 1023) << 52;
  return p * (Vec<double>)exponent;
}

}  // namespace
}  // namespace distmlip::kernels::irreps
