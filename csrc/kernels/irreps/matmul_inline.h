// C (+)= A B with rows through pointers, so that rows may be gathered or strided; B packed into panels.
#pragma once

#include <algorithm>

#include "kernels/irreps/vectors_inline.h"

namespace distmlip::kernels::irreps {
namespace {

/// Calls f(first column, vectors) for every panel of a packed matrix with so many padded columns.
template <class T, class F>
DISTMLIP_INLINE void for_each_panel(int columns, F f) {
  constexpr int width = panel * lanes<T>;
  int first = 0;
  for (; first + width <= columns; first += width) f(first, panel);
  if (first < columns) f(first, (columns - first) / lanes<T>);
}

template <class T>
size_t packed_size(int k, int n) {
  return static_cast<size_t>(k) * static_cast<size_t>(padded(n));
}

template <class T>
void pack(int k, int n, const double* values, std::ptrdiff_t row_stride, std::ptrdiff_t column_stride,
          T* packed) {
  for_each_panel<T>(padded(n), [&](int first, int vectors) {
    for (int row = 0; row < k; ++row)
      for (int column = first; column < first + vectors * lanes<T>; ++column)
        *packed++ = column < n ? static_cast<T>(values[row * row_stride + column * column_stride]) : T(0);
  });
}

/// What is added to comes last: were it the first summand, each of the others would be rounded to its size.
/// Adding or not is no branch: with one, GCC 12 keeps the sums in memory.
template <class T, int ROWS, int VECTORS, bool ADDS>
__attribute__((noinline)) void tile(const T* const* a, std::ptrdiff_t a_offset, std::ptrdiff_t a_stride,
                                    int k, const T* b, T* const* c, int offset) {
  Vec<T> sums[ROWS][VECTORS];
#pragma GCC unroll 16
  for (int i = 0; i < ROWS; ++i)
#pragma GCC unroll 16
    for (int v = 0; v < VECTORS; ++v) sums[i][v] = Vec<T>{};
  const T* rows[ROWS];
#pragma GCC unroll 16
  for (int i = 0; i < ROWS; ++i) rows[i] = a[i] + a_offset;
#pragma GCC unroll 2
  for (int n = 0; n < k; ++n) {
    Vec<T> columns[VECTORS];
#pragma GCC unroll 16
    for (int v = 0; v < VECTORS; ++v) columns[v] = load<T>(b + v * lanes<T>);
    b += VECTORS * lanes<T>;
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; ++i) {
      const T factor = *rows[i];
      rows[i] += a_stride;
#pragma GCC unroll 16
      for (int v = 0; v < VECTORS; ++v) sums[i][v] += columns[v] * factor;
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < ROWS; ++i)
#pragma GCC unroll 16
    for (int v = 0; v < VECTORS; ++v) {
      T* to = c[i] + offset + v * lanes<T>;
      store<T>(to, ADDS ? load<T>(to) + sums[i][v] : sums[i][v]);
    }
}

template <class T, int VECTORS, bool ADDS>
DISTMLIP_INLINE void rows_of_panel(int m, const T* const* a, std::ptrdiff_t a_offset, std::ptrdiff_t a_stride,
                                   int k, const T* b, T* const* c, int offset) {
  constexpr int most = has_32_registers ? (VECTORS <= 2 ? 12 : 6) : (VECTORS == 1 ? 12 : 6);
  int i = 0;
  for (; i + most <= m; i += most)
    tile<T, most, VECTORS, ADDS>(a + i, a_offset, a_stride, k, b, c + i, offset);
  if constexpr (most > 6) {
    if (m - i >= 6) {
      tile<T, 6, VECTORS, ADDS>(a + i, a_offset, a_stride, k, b, c + i, offset);
      i += 6;
    }
  }
  switch (m - i) {
    case 1:
      return tile<T, 1, VECTORS, ADDS>(a + i, a_offset, a_stride, k, b, c + i, offset);
    case 2:
      return tile<T, 2, VECTORS, ADDS>(a + i, a_offset, a_stride, k, b, c + i, offset);
    case 3:
      return tile<T, 3, VECTORS, ADDS>(a + i, a_offset, a_stride, k, b, c + i, offset);
    case 4:
      return tile<T, 4, VECTORS, ADDS>(a + i, a_offset, a_stride, k, b, c + i, offset);
    case 5:
      return tile<T, 5, VECTORS, ADDS>(a + i, a_offset, a_stride, k, b, c + i, offset);
    default:
      return;
  }
}

/// Rows [first_k, last_k) of B.
template <class T, bool ADDS>
DISTMLIP_INLINE void multiply_or_add(int m, const T* const* a, std::ptrdiff_t a_stride, int k, int first_k,
                                     int last_k, int columns, const T* packed, T* const* c) {
  const std::ptrdiff_t a_offset = first_k * a_stride;
  const int n = last_k - first_k;
  for_each_panel<T>(columns, [&](int first, int vectors) {
    const T* b = packed + static_cast<size_t>(first) * static_cast<size_t>(k) + first_k * vectors * lanes<T>;
    if (vectors == panel) {
      rows_of_panel<T, panel, ADDS>(m, a, a_offset, a_stride, n, b, c, first);
    } else if (vectors == 1) {
      rows_of_panel<T, 1, ADDS>(m, a, a_offset, a_stride, n, b, c, first);
    } else if constexpr (panel > 2) {
      if (vectors == 2)
        rows_of_panel<T, 2, ADDS>(m, a, a_offset, a_stride, n, b, c, first);
      else
        rows_of_panel<T, 3, ADDS>(m, a, a_offset, a_stride, n, b, c, first);
    }
  });
}

/// Rows of B that are multiplied at a time, or about as many, so that those of a panel stay in the first
/// cache.
constexpr int depth = 256;

template <class T>
void multiply(int m, const T* const* a, std::ptrdiff_t a_stride, int k, int columns, const T* packed,
              T* const* c, bool accumulate) {
  const int n_parts = std::max(1, (k + depth / 2) / depth);
  for (int part = 0; part < n_parts; ++part) {
    const int first_k = k * part / n_parts, last_k = k * (part + 1) / n_parts;
    if (accumulate || first_k > 0)
      multiply_or_add<T, true>(m, a, a_stride, k, first_k, last_k, columns, packed, c);
    else
      multiply_or_add<T, false>(m, a, a_stride, k, first_k, last_k, columns, packed, c);
  }
}

}  // namespace
}  // namespace distmlip::kernels::irreps
