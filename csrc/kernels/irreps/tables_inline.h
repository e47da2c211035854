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

/// Rows times PANELS panels of VECTORS vectors: sums enough for the latency of a multiply-add to be hidden.
/// COEFFICIENTS == 0: as many as n_coefficients says.
template <class T, int ROWS, int PANELS, int VECTORS, int COEFFICIENTS>
DISTMLIP_INLINE void look_up_rows(const T* polynomials, int n_coefficients, const T* table, T* const* out,
                                  int column) {
  constexpr int width = VECTORS * lanes<T>;
  const int n = COEFFICIENTS != 0 ? COEFFICIENTS : n_coefficients;
  Vec<T> sums[ROWS][PANELS * VECTORS] = {};
#pragma GCC unroll 16
  for (int d = 0; d < n; ++d) {
    Vec<T> columns[PANELS * VECTORS];
#pragma GCC unroll 8
    for (int v = 0; v < PANELS * VECTORS; ++v)
      columns[v] = load<T>(table + (v / VECTORS * n + d) * width + v % VECTORS * lanes<T>);
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; ++i)
      for (int v = 0; v < PANELS * VECTORS; ++v)
        sums[i][v] += columns[v] * polynomials[i * most_coefficients + d];
  }
#pragma GCC unroll 8
  for (int i = 0; i < ROWS; ++i)
    for (int v = 0; v < PANELS * VECTORS; ++v) store<T>(out[i] + column + v * lanes<T>, sums[i][v]);
}

/// Some rows of one cell, over all columns.
template <class T, int ROWS, int PANELS, int COEFFICIENTS>
DISTMLIP_INLINE void look_up_columns(const T* polynomials, int n_coefficients, int columns, const T* table,
                                     T* const* out) {
  constexpr int width = panel * lanes<T>;
  int column = 0;
  const auto some = [&]<int N, int VECTORS>() __attribute__((always_inline)) {
    look_up_rows<T, ROWS, N, VECTORS, COEFFICIENTS>(
        polynomials, n_coefficients, table + static_cast<std::ptrdiff_t>(column) * n_coefficients, out,
        column);
    return N * VECTORS * lanes<T>;
  };
  while (column + PANELS * width <= columns) column += some.template operator()<PANELS, panel>();
  if constexpr (PANELS > 1)
    while (column + width <= columns) column += some.template operator()<1, panel>();
  if constexpr (panel > 2) {
    if (column + 3 * lanes<T> == columns) column += some.template operator()<1, 3>();
    if (column + 2 * lanes<T> == columns) column += some.template operator()<1, 2>();
  }
  if (column < columns) some.template operator()<1, 1>();
}

constexpr int most_rows = 6;  ///< that share the loads of a cell's columns

template <class T, int COEFFICIENTS>
void look_up_with(int n_edges, int per, int n_coefficients, int columns, const int32_t* cells,
                  const int32_t* places, const T* polynomials, const T* table, size_t cell_stride, T* out,
                  std::ptrdiff_t out_stride) {
  const int n_rows = n_edges * per;
  T* to[most_rows];
  for (int row = 0; row < n_rows;) {
    const int32_t of = cells[row / per];
    int n = 0;
    for (; n < most_rows && row + n < n_rows && cells[(row + n) / per] == of; ++n)
      to[n] = out + (places[(row + n) / per] * per + (row + n) % per) * out_stride;
    const T* cell = table + static_cast<size_t>(of) * cell_stride;
    const auto some = [&]<int ROWS, int PANELS>() __attribute__((always_inline)) {
      look_up_columns<T, ROWS, PANELS, COEFFICIENTS>(polynomials + row * most_coefficients, n_coefficients,
                                                     columns, cell, to);
      row += ROWS;
    };
    switch (n) {
      case 1:
        some.template operator()<1, has_32_registers ? 2 : 4>();
        break;
      case 2:
        some.template operator()<2, has_32_registers ? 1 : 2>();
        break;
      case 3:
        some.template operator()<3, 1>();
        break;
      case 4:
        some.template operator()<4, 1>();
        break;
      case 5:
        some.template operator()<5, 1>();
        break;
      default:
        some.template operator()<most_rows, 1>();
    }
  }
}

template <class T>
void look_up(int n_edges, int per, int n_coefficients, int columns, const int32_t* cells,
             const int32_t* places, const T* polynomials, const T* table, size_t cell_stride, T* out,
             std::ptrdiff_t out_stride) {
  const auto with = n_coefficients == 8 ? look_up_with<T, 8> : look_up_with<T, 0>;
  with(n_edges, per, n_coefficients, columns, cells, places, polynomials, table, cell_stride, out,
       out_stride);
}

}  // namespace
}  // namespace distmlip::kernels::irreps
