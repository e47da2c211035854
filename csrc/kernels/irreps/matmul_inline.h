// C (+)= A B with rows through pointers, so that rows may be gathered or strided; B packed into panels.
#pragma once

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

template <class T, int ROWS, int VECTORS>
__attribute__((noinline)) void tile(const T* const* a, std::ptrdiff_t a_stride, int k, const T* b,
                                    T* const* c, int offset, bool accumulate) {
  Vec<T> sums[ROWS][VECTORS];
  for (int i = 0; i < ROWS; ++i)
    for (int v = 0; v < VECTORS; ++v)
      sums[i][v] = accumulate ? load<T>(c[i] + offset + v * lanes<T>) : Vec<T>{};
  const T* rows[ROWS];
  for (int i = 0; i < ROWS; ++i) rows[i] = a[i];
  const auto run = [&](std::ptrdiff_t stride) __attribute__((always_inline)) {
#pragma GCC unroll 2
    for (int n = 0; n < k; ++n) {
      Vec<T> columns[VECTORS];
      for (int v = 0; v < VECTORS; ++v) columns[v] = load<T>(b + v * lanes<T>);
      b += VECTORS * lanes<T>;
#pragma GCC unroll 16
      for (int i = 0; i < ROWS; ++i) {
        const T factor = rows[i][n * stride];
        for (int v = 0; v < VECTORS; ++v) sums[i][v] += columns[v] * factor;
      }
    }
  };
  if (a_stride == 1)
    run(1);
  else
    run(a_stride);
  for (int i = 0; i < ROWS; ++i)
    for (int v = 0; v < VECTORS; ++v) store<T>(c[i] + offset + v * lanes<T>, sums[i][v]);
}

template <class T, int VECTORS>
DISTMLIP_INLINE void rows_of_panel(int m, const T* const* a, std::ptrdiff_t a_stride, int k, const T* b,
                                   T* const* c, int offset, bool accumulate) {
  constexpr int most = has_32_registers ? (VECTORS <= 2 ? 12 : 6) : (VECTORS == 1 ? 12 : 6);
  int i = 0;
  for (; i + most <= m; i += most) tile<T, most, VECTORS>(a + i, a_stride, k, b, c + i, offset, accumulate);
  if constexpr (most > 6) {
    if (m - i >= 6) {
      tile<T, 6, VECTORS>(a + i, a_stride, k, b, c + i, offset, accumulate);
      i += 6;
    }
  }
  switch (m - i) {
    case 1:
      tile<T, 1, VECTORS>(a + i, a_stride, k, b, c + i, offset, accumulate);
      break;
    case 2:
      tile<T, 2, VECTORS>(a + i, a_stride, k, b, c + i, offset, accumulate);
      break;
    case 3:
      tile<T, 3, VECTORS>(a + i, a_stride, k, b, c + i, offset, accumulate);
      break;
    case 4:
      tile<T, 4, VECTORS>(a + i, a_stride, k, b, c + i, offset, accumulate);
      break;
    case 5:
      tile<T, 5, VECTORS>(a + i, a_stride, k, b, c + i, offset, accumulate);
      break;
    default:
      break;
  }
}

template <class T>
void multiply(int m, const T* const* a, std::ptrdiff_t a_stride, int k, int columns, const T* packed,
              T* const* c, bool accumulate) {
  for_each_panel<T>(columns, [&](int first, int vectors) {
    const T* b = packed + static_cast<size_t>(first) * static_cast<size_t>(k);
    if (vectors == panel) {
      rows_of_panel<T, panel>(m, a, a_stride, k, b, c, first, accumulate);
    } else if (vectors == 1) {
      rows_of_panel<T, 1>(m, a, a_stride, k, b, c, first, accumulate);
    } else if constexpr (panel > 2) {
      if (vectors == 2)
        rows_of_panel<T, 2>(m, a, a_stride, k, b, c, first, accumulate);
      else
        rows_of_panel<T, 3>(m, a, a_stride, k, b, c, first, accumulate);
    }
  });
}

}  // namespace
}  // namespace distmlip::kernels::irreps
