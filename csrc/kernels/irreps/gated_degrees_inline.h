// Gates of rows of edges, and products with coefficients of single edges, with their adjoints.
#pragma once

#include <algorithm>

#include "kernels/irreps/exponential_inline.h"

namespace distmlip::kernels::irreps {
namespace {

template <class T>
DISTMLIP_INLINE Vec<T> sigmoid_of(Vec<T> x) {
  return reciprocal_of(exponential<T>(-x) + T(1));
}

/// Calls f(row, order, part, degree) for all rows of an edge; part 1: real, 2: imaginary.
template <class F>
DISTMLIP_INLINE void for_each_row(const FrameShape& shape, F f) {
  int row = 0;
  for (int l = 0; l <= shape.lmax; ++l) f(row++, 0, 0, l);
  for (int m = 1; m <= shape.mmax; ++m)
    for (int part = 1; part <= 2; ++part)
      for (int l = m; l <= shape.lmax; ++l) f(row++, m, part, l);
}

template <class T>
void gate_degrees(const FrameShape& shape, int n_edges, const T* x, T* out) {
  const int channels = shape.channels, n_rows = shape.n_rows();
  for (int e = 0; e < n_edges; ++e, x += (shape.lmax + n_rows) * channels, out += n_rows * channels) {
    for (int c = 0; c < channels; c += lanes<T>) {
      const T* rows = x + shape.lmax * channels + c;
      Vec<T> gates[1 + largest_rotated];
      gates[0] = sigmoid_of<T>(load<T>(rows));
      for (int l = 1; l <= shape.lmax; ++l) gates[l] = sigmoid_of<T>(load<T>(x + (l - 1) * channels + c));
      for_each_row(shape, [&](int row, int /*order*/, int /*part*/, int l) __attribute__((always_inline)) {
        store<T>(out + row * channels + c, load<T>(rows + row * channels) * gates[l]);
      });
    }
  }
}

template <class T>
void gate_degrees_back(const FrameShape& shape, int n_edges, const T* x, const T* gradients, T* const* to) {
  const int channels = shape.channels, n_rows = shape.n_rows(), lmax = shape.lmax;
  for (int e = 0; e < n_edges; ++e, x += (lmax + n_rows) * channels, gradients += n_rows * channels) {
    T* of_gates = to[0] + static_cast<std::ptrdiff_t>(e) * (2 * lmax + 1) * channels;
    for (int c = 0; c < channels; c += lanes<T>) {
      const T* rows = x + lmax * channels + c;
      Vec<T> gates[1 + largest_rotated], by_gates[1 + largest_rotated] = {};
      for (int l = 1; l <= lmax; ++l) gates[l] = sigmoid_of<T>(load<T>(x + (l - 1) * channels + c));
      const Vec<T> first = load<T>(rows), sigmoid = sigmoid_of<T>(first);
      gates[0] = sigmoid + first * sigmoid * (T(1) - sigmoid);
      for_each_row(shape, [&](int row, int m, int part, int l) __attribute__((always_inline)) {
        const Vec<T> gradient = load<T>(gradients + row * channels + c), back = gradient * gates[l];
        if (l > 0) by_gates[l] += gradient * load<T>(rows + row * channels);
        if (m == 0) return store<T>(of_gates + (lmax + l) * channels + c, back);
        const int n = shape.n_degrees(m);
        const std::ptrdiff_t at = (static_cast<std::ptrdiff_t>(e) * n + l - m) * channels + c;
        store<T>(to[3 * m - 2 + part] + at, back);
        if (part == 2) store<T>(to[3 * m - 2] + at, load<T>(to[3 * m - 1] + at) + back);
      });
      for (int l = 1; l <= lmax; ++l)
        store<T>(of_gates + (l - 1) * channels + c, by_gates[l] * gates[l] * (T(1) - gates[l]));
    }
  }
}

/// Of some sums, which share the loads of rows.
template <class T, int SUMS, int ROWS>
DISTMLIP_INLINE void add_some_outer(int first, int n_sums, int width, const T* coefficients, const T* rows,
                                    T* sums, std::ptrdiff_t stride) {
  T factors[ROWS][SUMS];
  for (int k = 0; k < ROWS; ++k)
    for (int j = 0; j < SUMS; ++j) factors[k][j] = coefficients[k * n_sums + first + j];
  for (int c = 0; c < width; c += lanes<T>) {
    Vec<T> row[ROWS];
    for (int k = 0; k < ROWS; ++k) row[k] = load<T>(rows + k * width + c);
    for (int j = 0; j < SUMS; ++j) {
      T* sum = sums + (first + j) * stride + c;
      Vec<T> total = load<T>(sum);
      for (int k = 0; k < ROWS; ++k) total += row[k] * factors[k][j];
      store<T>(sum, total);
    }
  }
}
template <class T, int ROWS>
void add_outer_of(int n_sums, int width, const T* coefficients, const T* rows, T* sums,
                  std::ptrdiff_t stride) {
  int first = 0;
  for (; first + 4 <= n_sums; first += 4)
    add_some_outer<T, 4, ROWS>(first, n_sums, width, coefficients, rows, sums, stride);
  for (; first < n_sums; ++first)
    add_some_outer<T, 1, ROWS>(first, n_sums, width, coefficients, rows, sums, stride);
}
template <class T>
void add_outer(int n_sums, int n_rows, int width, const T* coefficients, const T* rows, T* sums,
               std::ptrdiff_t stride) {
  if (n_rows == 1)
    add_outer_of<T, 1>(n_sums, width, coefficients, rows, sums, stride);
  else
    add_outer_of<T, 2>(n_sums, width, coefficients, rows, sums, stride);
}

/// Of some sums, whose accumulators stay in registers.
template <class T, int SUMS, int ROWS>
DISTMLIP_INLINE void some_outer_back(int first, int n_sums, int width, const T* coefficients, const T* rows,
                                     const T* gradients, std::ptrdiff_t stride, T* row_gradients,
                                     T* coefficient_gradients) {
  Vec<T> dots[ROWS][SUMS] = {};
  gradients += first * stride;
  for (int c = 0; c < width; c += lanes<T>) {
    Vec<T> row[ROWS], of_row[ROWS];
    for (int k = 0; k < ROWS; ++k) {
      row[k] = load<T>(rows + k * width + c);
      of_row[k] = first == 0 ? Vec<T>{} : load<T>(row_gradients + k * width + c);
    }
    for (int j = 0; j < SUMS; ++j) {
      const Vec<T> gradient = load<T>(gradients + j * stride + c);
      for (int k = 0; k < ROWS; ++k) {
        of_row[k] += gradient * coefficients[k * n_sums + first + j];
        dots[k][j] += gradient * row[k];
      }
    }
    for (int k = 0; k < ROWS; ++k) store<T>(row_gradients + k * width + c, of_row[k]);
  }
  for (int k = 0; k < ROWS; ++k) {
    T totals[SUMS + lanes<T>];
    sums_of_lanes<T, SUMS>(dots[k], totals);
    std::copy_n(totals, SUMS, coefficient_gradients + k * n_sums + first);
  }
}
template <class T>
void add_outer_back(int n_sums, int n_rows, int width, const T* coefficients, const T* rows,
                    const T* gradients, std::ptrdiff_t stride, T* row_gradients, T* coefficient_gradients) {
  const auto some = [&]<int SUMS>(int first) __attribute__((always_inline)) {
    const auto of = n_rows == 1 ? some_outer_back<T, SUMS, 1> : some_outer_back<T, SUMS, 2>;
    of(first, n_sums, width, coefficients, rows, gradients, stride, row_gradients, coefficient_gradients);
  };
  int first = 0;
  for (; first + 4 <= n_sums; first += 4) some.template operator()<4>(first);
  for (; first < n_sums; ++first) some.template operator()<1>(first);
}

}  // namespace
}  // namespace distmlip::kernels::irreps
