// Sines and cosines of lengths and angles as bases of networks, with derivatives.
#pragma once

#include "kernels/irreps/vectors_inline.h"

namespace distmlip::kernels::irreps {
namespace {

/// Of frequency · x: what is left after the multiple of π/2 that is nearest, and that multiple. In float64:
/// phases are large, and float32 would leave them few digits.
template <class T>
DISTMLIP_INLINE void within_quarter(int n, const double* frequencies, double x, T* rest,
                                    typename VectorTypes<T>::Integer* quarters) {
  const double magic = 6755399441055744.0;  // 1.5 · 2⁵²: adding it rounds to an integer
  for (int k = 0; k < n; ++k) {
    const double phase = frequencies[k] * x, quarter = (phase * 0.636619772367581343 + magic) - magic;
    rest[k] =
        static_cast<T>(((phase - quarter * 1.57079632673412561417) - quarter * 6.07710050630396597660e-11) -
                       quarter * 2.02226624879595063154e-21);
    quarters[k] = static_cast<typename VectorTypes<T>::Integer>(quarter);
  }
}

template <class T, int TERMS>
DISTMLIP_INLINE Vec<T> even_series(Vec<T> squared, int first) {
  double coefficients[TERMS] = {1};
  for (int k = 1; k < TERMS; ++k)
    coefficients[k] = -coefficients[k - 1] / ((2 * k + first - 1) * (2 * k + first));
  Vec<T> sum = broadcast(T(coefficients[TERMS - 1]));
  for (int k = TERMS - 2; k >= 0; --k) sum = sum * squared + T(coefficients[k]);
  return sum;
}

/// Calls f(c, sines, cosines) for each vector of frequencies.
template <class T, class F>
DISTMLIP_INLINE void for_sines_and_cosines(int n, const double* frequencies, double x, F f) {
  using Integers = typename VectorTypes<T>::Integers;
  constexpr int terms = sizeof(T) == 4 ? 5 : 9, sign_bit = sizeof(T) * 8 - 2;
  for (int c = 0; c < n; c += lanes<T>) {
    T rests[lanes<T>];
    typename VectorTypes<T>::Integer quarters[lanes<T>];
    within_quarter<T>(lanes<T>, frequencies + c, x, rests, quarters);
    Integers quarter;
    std::memcpy(&quarter, quarters, sizeof(quarter));
    const Vec<T> rest = load<T>(rests), squared = rest * rest;
    const Vec<T> odd = even_series<T, terms>(squared, 1) * rest, even = even_series<T, terms>(squared, 0);
    const Integers is_odd = -(quarter & 1);
    const Integers of_sine = ((Integers)even & is_odd) | ((Integers)odd & ~is_odd);
    const Integers of_cosine = ((Integers)odd & is_odd) | ((Integers)even & ~is_odd);
    f(c, (Vec<T>)(of_sine ^ ((quarter & 2) << sign_bit)),
      (Vec<T>)(of_cosine ^ (((quarter + 1) & 2) << sign_bit)));
  }
}

template <class T>
DISTMLIP_INLINE Vec<T> narrowed(const double* values) {
  T narrow[lanes<T>];
  for (int k = 0; k < lanes<T>; ++k) narrow[k] = static_cast<T>(values[k]);
  return load<T>(narrow);
}

template <class T>
void bessel(int n_rows, int n, const double* lengths, const double* frequencies, const T* factors,
            const T* slopes, T* out) {
  for (int row = 0; row < n_rows; ++row, out += 2 * n) {
    for_sines_and_cosines<T>(n, frequencies, lengths[row], [&](int c, Vec<T> sine, Vec<T> cosine) {
      store<T>(out + c, sine * factors[row]);
      store<T>(out + n + c, sine * slopes[row] + cosine * narrowed<T>(frequencies + c) * factors[row]);
    });
  }
}

template <class T>
void fourier(int n_rows, int n, const double* angles, const double* frequencies, T* out) {
  for (int row = 0; row < n_rows; ++row, out += 4 * n) {
    for_sines_and_cosines<T>(n, frequencies, angles[row], [&](int c, Vec<T> sine, Vec<T> cosine) {
      const Vec<T> frequency = narrowed<T>(frequencies + c);
      store<T>(out + c, sine);
      store<T>(out + n + c, cosine);
      store<T>(out + 2 * n + c, cosine * frequency);
      store<T>(out + 3 * n + c, sine * -frequency);
    });
  }
}

}  // namespace
}  // namespace distmlip::kernels::irreps
