// Sines and cosines of lengths and angles as bases of networks, with derivatives.
#pragma once

#include "kernels/irreps/vectors_inline.h"

namespace distmlip::kernels::irreps {
namespace {

/// What is left of x after the multiple of π/2 that is nearest, |x| < 10⁴, and that multiple.
DISTMLIP_INLINE Vec<float> within_quarter(Vec<float> x, VectorTypes<float>::Integers& quarter) {
  const float magic = 12582912.0f;
  const Vec<float> n = (x * 0.636619772367581343f + magic) - magic;
  quarter = __builtin_convertvector(n, VectorTypes<float>::Integers);
  return ((x - n * 1.5703125f) - n * 4.83751296997070312e-4f) - n * 7.5497899548918821e-8f;
}
DISTMLIP_INLINE Vec<double> within_quarter(Vec<double> x, VectorTypes<double>::Integers& quarter) {
  using Integers = VectorTypes<double>::Integers;
  const double magic = 6755399441055744.0;
  const Vec<double> shifted = x * 0.636619772367581343 + magic, n = shifted - magic;
  quarter = (Integers)shifted - (Integers)broadcast(magic);
  return ((x - n * 1.57079632673412561417) - n * 6.07710050630396597660e-11) - n * 2.02226624879595063154e-21;
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

template <class T>
DISTMLIP_INLINE void sine_and_cosine(Vec<T> x, Vec<T>& sine, Vec<T>& cosine) {
  using Integers = typename VectorTypes<T>::Integers;
  constexpr int terms = sizeof(T) == 4 ? 5 : 9;
  constexpr int sign_bit = sizeof(T) * 8 - 2;
  Integers quarter;
  const Vec<T> rest = within_quarter(x, quarter), squared = rest * rest;
  const Vec<T> odd = even_series<T, terms>(squared, 1) * rest, even = even_series<T, terms>(squared, 0);
  const Integers is_odd = -(quarter & 1);
  const Integers of_sine = ((Integers)even & is_odd) | ((Integers)odd & ~is_odd);
  const Integers of_cosine = ((Integers)odd & is_odd) | ((Integers)even & ~is_odd);
  sine = (Vec<T>)(of_sine ^ ((quarter & 2) << sign_bit));
  cosine = (Vec<T>)(of_cosine ^ (((quarter + 1) & 2) << sign_bit));
}

template <class T>
void bessel(int n_rows, int n, const T* lengths, const T* frequencies, const T* factors, const T* slopes,
            T* out) {
  for (int row = 0; row < n_rows; ++row, out += 2 * n) {
    for (int c = 0; c < n; c += lanes<T>) {
      const Vec<T> frequency = load<T>(frequencies + c);
      Vec<T> sine, cosine;
      sine_and_cosine<T>(frequency * lengths[row], sine, cosine);
      store<T>(out + c, sine * factors[row]);
      store<T>(out + n + c, sine * slopes[row] + cosine * frequency * factors[row]);
    }
  }
}

template <class T>
void fourier(int n_rows, int n, const T* angles, const T* frequencies, T* out) {
  for (int row = 0; row < n_rows; ++row, out += 4 * n) {
    for (int c = 0; c < n; c += lanes<T>) {
      const Vec<T> frequency = load<T>(frequencies + c);
      Vec<T> sine, cosine;
      sine_and_cosine<T>(frequency * angles[row], sine, cosine);
      store<T>(out + c, sine);
      store<T>(out + n + c, cosine);
      store<T>(out + 2 * n + c, cosine * frequency);
      store<T>(out + 3 * n + c, sine * -frequency);
    }
  }
}

}  // namespace
}  // namespace distmlip::kernels::irreps
