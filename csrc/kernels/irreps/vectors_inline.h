// Vectors of DISTMLIP_VECTOR_BYTES by the compiler's extensions. Everything that is compiled more than once
// has internal linkage: the linker must not take one instruction set's copy for all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include "kernels/device/code.h"
#include "kernels/irreps/operators.h"

#ifndef DISTMLIP_VECTOR_BYTES
#error "include this from a file that is compiled for one instruction set"
#endif

namespace distmlip::kernels::irreps {
namespace {

template <class T>
struct VectorTypes;
template <>
struct VectorTypes<float> {
  typedef float Vector __attribute__((vector_size(DISTMLIP_VECTOR_BYTES)));
  typedef float Unaligned __attribute__((vector_size(DISTMLIP_VECTOR_BYTES), aligned(4), may_alias));
  using Integer = int32_t;
  typedef Integer Integers __attribute__((vector_size(DISTMLIP_VECTOR_BYTES)));
};
template <>
struct VectorTypes<double> {
  typedef double Vector __attribute__((vector_size(DISTMLIP_VECTOR_BYTES)));
  typedef double Unaligned __attribute__((vector_size(DISTMLIP_VECTOR_BYTES), aligned(8), may_alias));
  using Integer = int64_t;
  typedef Integer Integers __attribute__((vector_size(DISTMLIP_VECTOR_BYTES)));
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

}  // namespace
}  // namespace distmlip::kernels::irreps
