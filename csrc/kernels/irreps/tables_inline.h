// Piecewise Chebyshev tables: on a cell, a function of the length is Σ_d T_d(t) table[d].
#pragma once

#include "kernels/irreps/matmul_inline.h"

namespace distmlip::kernels::irreps {
namespace {

template <class T>
void chebyshev(int n_edges, int n_coefficients, int per, const T* t, const T* scale, T* polynomials) {
  for (int e = 0; e < n_edges; ++e) {
    T* value = polynomials + e * per * most_coefficients;
    T before = 1, now = t[e];
    value[0] = before;
    value[1] = now;
    for (int d = 2; d < n_coefficients; ++d) {
      const T next = 2 * t[e] * now - before;
      value[d] = next;
      before = now;
      now = next;
    }
    if (per == 1) continue;
    T* derivative = value + most_coefficients;
    const T slope = scale[e];
    T slope_before = 0, slope_now = slope;
    derivative[0] = 0;
    derivative[1] = slope;
    for (int d = 2; d < n_coefficients; ++d) {
      const T next = 2 * slope * value[d - 1] + 2 * t[e] * slope_now - slope_before;
      derivative[d] = next;
      slope_before = slope_now;
      slope_now = next;
    }
  }
}

/// COEFFICIENTS == 0: as many as n_coefficients says.
template <class T, int ROWS, int VECTORS, int COEFFICIENTS>
DISTMLIP_INLINE void look_up_rows(const T* polynomials, int n_coefficients, const T* table, T* out,
                                  std::ptrdiff_t out_stride) {
  Vec<T> sums[ROWS][VECTORS];
#pragma GCC unroll 8
  for (int i = 0; i < ROWS; ++i)
    for (int v = 0; v < VECTORS; ++v)
      sums[i][v] = load<T>(table + v * lanes<T>) * polynomials[i * most_coefficients];
  const int n = COEFFICIENTS != 0 ? COEFFICIENTS : n_coefficients;
#pragma GCC unroll 16
  for (int d = 1; d < n; ++d) {
    Vec<T> columns[VECTORS];
    for (int v = 0; v < VECTORS; ++v) columns[v] = load<T>(table + (d * VECTORS + v) * lanes<T>);
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; ++i)
      for (int v = 0; v < VECTORS; ++v) sums[i][v] += columns[v] * polynomials[i * most_coefficients + d];
  }
#pragma GCC unroll 8
  for (int i = 0; i < ROWS; ++i)
    for (int v = 0; v < VECTORS; ++v) store<T>(out + i * out_stride + v * lanes<T>, sums[i][v]);
}

template <class T, int VECTORS, int COEFFICIENTS>
__attribute__((noinline)) void look_up_run(int rows, const T* polynomials, int n_coefficients, const T* table,
                                           T* out, std::ptrdiff_t out_stride) {
  const auto some = [&]<int ROWS>() __attribute__((always_inline)) {
    look_up_rows<T, ROWS, VECTORS, COEFFICIENTS>(polynomials, n_coefficients, table, out, out_stride);
    rows -= ROWS;
    polynomials += ROWS * most_coefficients;
    out += ROWS * out_stride;
  };
  while (rows >= 6) some.template operator()<6>();
  if (rows >= 4) some.template operator()<4>();
  if (rows >= 2) some.template operator()<2>();
  if (rows >= 1) some.template operator()<1>();
}

template <class T, int COEFFICIENTS>
void look_up_with(int n_edges, int per, int n_coefficients, int columns, const int32_t* cells,
                  const T* polynomials, const T* table, size_t cell_stride, T* out,
                  std::ptrdiff_t out_stride) {
  for (int first = 0; first < n_edges;) {
    int last = first + 1;
    while (last < n_edges && cells[last] == cells[first]) ++last;
    const T* cell = table + static_cast<size_t>(cells[first]) * cell_stride;
    for_each_panel<T>(columns, [&](int column, int vectors) {
      const T* of_panel = cell + static_cast<std::ptrdiff_t>(column) * n_coefficients;
      const T* rows = polynomials + first * per * most_coefficients;
      T* to = out + first * per * out_stride + column;
      const int n_rows = (last - first) * per;
      if (vectors == panel) {
        look_up_run<T, panel, COEFFICIENTS>(n_rows, rows, n_coefficients, of_panel, to, out_stride);
      } else if (vectors == 1) {
        look_up_run<T, 1, COEFFICIENTS>(n_rows, rows, n_coefficients, of_panel, to, out_stride);
      } else if constexpr (panel > 2) {
        if (vectors == 2)
          look_up_run<T, 2, COEFFICIENTS>(n_rows, rows, n_coefficients, of_panel, to, out_stride);
        else
          look_up_run<T, 3, COEFFICIENTS>(n_rows, rows, n_coefficients, of_panel, to, out_stride);
      }
    });
    first = last;
  }
}

template <class T>
void look_up(int n_edges, int per, int n_coefficients, int columns, const int32_t* cells,
             const T* polynomials, const T* table, size_t cell_stride, T* out, std::ptrdiff_t out_stride) {
  const auto with = n_coefficients == 8 ? look_up_with<T, 8> : look_up_with<T, 0>;
  with(n_edges, per, n_coefficients, columns, cells, polynomials, table, cell_stride, out, out_stride);
}

}  // namespace
}  // namespace distmlip::kernels::irreps
