// Real spherical harmonics up to degree 3 in e3nn's order and component normalisation, and their pullback.
#pragma once

#include "kernels/irreps/vectors_inline.h"

namespace distmlip::kernels::irreps {
namespace {

template <class T>
constexpr T root3 = T(1.7320508075688772935);
template <class T>
constexpr T root5 = T(2.2360679774997896964);
template <class T>
constexpr T root7 = T(2.6457513110645905905);
template <class T>
constexpr T root5_6 = T(0.91287092917527685576);
template <class T>
constexpr T root3_8 = T(0.61237243569579452455);

template <class T>
DISTMLIP_INLINE void harmonics_of(T x, T y, T z, T* v) {
  const T y2 = y * y, q = x * x + z * z, a = root3<T> * x * z, b = root3<T> / 2 * (z * z - x * x);
  const T f = 4 * y2 - q;
  v[0] = 1;
  v[1] = root3<T> * x;
  v[2] = root3<T> * y;
  v[3] = root3<T> * z;
  v[4] = root5<T> * a;
  v[5] = root5<T> * root3<T> * x * y;
  v[6] = root5<T> * (y2 - q / 2);
  v[7] = root5<T> * root3<T> * y * z;
  v[8] = root5<T> * b;
  v[9] = root7<T> * root5_6<T> * (a * z + b * x);
  v[10] = root7<T> * root5<T> * a * y;
  v[11] = root7<T> * root3_8<T> * f * x;
  v[12] = root7<T> / 2 * y * (2 * y2 - 3 * q);
  v[13] = root7<T> * root3_8<T> * z * f;
  v[14] = root7<T> * root5<T> * b * y;
  v[15] = root7<T> * root5_6<T> * (b * z - a * x);
}

/// Gradient of Σ g · harmonics in x, y, z, as polynomials of three independent variables.
template <class T>
DISTMLIP_INLINE void harmonics_gradient(T x, T y, T z, const T* g, T* out) {
  const T y2 = y * y, q = x * x + z * z, a = root3<T> * x * z, b = root3<T> / 2 * (z * z - x * x);
  const T f = 4 * y2 - q;
  T gx = root3<T> * g[1], gy = root3<T> * g[2], gz = root3<T> * g[3];
  T ga = root5<T> * g[4], gb = root5<T> * g[8], gy2 = root5<T> * g[6], gq = -root5<T> / 2 * g[6];
  gx += root5<T> * root3<T> * g[5] * y;
  gy += root5<T> * root3<T> * (g[5] * x + g[7] * z);
  gz += root5<T> * root3<T> * g[7] * y;
  T h = root7<T> * root5_6<T> * g[9];
  ga += h * z;
  gz += h * a;
  gb += h * x;
  gx += h * b;
  h = root7<T> * root5<T> * g[10];
  ga += h * y;
  gy += h * a;
  h = root7<T> * root3_8<T> * g[11];
  T gf = h * x;
  gx += h * f;
  h = root7<T> / 2 * g[12];
  gy += h * (2 * y2 - 3 * q);
  gy2 += 2 * h * y;
  gq -= 3 * h * y;
  h = root7<T> * root3_8<T> * g[13];
  gf += h * z;
  gz += h * f;
  h = root7<T> * root5<T> * g[14];
  gb += h * y;
  gy += h * b;
  h = root7<T> * root5_6<T> * g[15];
  gb += h * z;
  gz += h * b;
  ga -= h * x;
  gx -= h * a;
  gy2 += 4 * gf;
  gq -= gf;
  out[0] = gx + 2 * x * gq + root3<T> * (z * ga - x * gb);
  out[1] = gy + 2 * y * gy2;
  out[2] = gz + 2 * z * gq + root3<T> * (x * ga + z * gb);
}

template <class T>
DISTMLIP_INLINE T root(T x) {
  if constexpr (sizeof(T) == 4)
    return __builtin_sqrtf(x);
  else
    return __builtin_sqrt(x);
}

template <class T>
void harmonics(int n_edges, const T* const* vectors, T sign, T* values, T* lengths) {
  for (int e = 0; e < n_edges; ++e) {
    const T* v = vectors[e];
    const T length = root(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]), scale = sign / length;
    lengths[e] = length;
    harmonics_of<T>(v[0] * scale, v[1] * scale, v[2] * scale, values + e * n_harmonics);
  }
}

template <class T>
void harmonics_back(int n_edges, const T* const* vectors, T sign, const T* gradients,
                    const T* length_gradients, T* const* vector_gradients) {
  for (int e = 0; e < n_edges; ++e) {
    const T* v = vectors[e];
    const T inverse = 1 / root(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]), scale = sign * inverse;
    const T x = v[0] * scale, y = v[1] * scale, z = v[2] * scale;
    T g[3];
    harmonics_gradient<T>(x, y, z, gradients + e * n_harmonics, g);
    const T along = g[0] * x + g[1] * y + g[2] * z, radial = sign * length_gradients[e];
    vector_gradients[e][0] = (g[0] - along * x) * scale + radial * x;
    vector_gradients[e][1] = (g[1] - along * y) * scale + radial * y;
    vector_gradients[e][2] = (g[2] - along * z) * scale + radial * z;
  }
}

}  // namespace
}  // namespace distmlip::kernels::irreps
