// Rows of atoms in the frames of edges.
#pragma once

#include <algorithm>

#include "kernels/irreps/vectors_inline.h"

namespace distmlip::kernels::irreps {
namespace {

/// Σ_k factors[k] rows[k]
template <class T>
DISTMLIP_INLINE Vec<T> combined(int n, const T* factors, std::ptrdiff_t factor_stride, const T* rows,
                                std::ptrdiff_t row_stride) {
  Vec<T> sum = {};
  for (int k = 0; k < n; ++k) sum += load<T>(rows + k * row_stride) * factors[k * factor_stride];
  return sum;
}

/// Where the rows of one order and degree of an edge are.
struct RowOfOrder {
  int width;       ///< of all rows of the order
  int in_order;    ///< offset
  int of_weights;  ///< offset among those of all orders
};
DISTMLIP_INLINE RowOfOrder row_of_order(const FrameShape& shape, int degree, int order, int side) {
  const int per_degree = 2 * shape.channels;
  int before = 0;
  for (int m = 0; m < order; ++m) before += shape.n_degrees(m);
  const int offset = (degree - order) * per_degree + side * shape.channels;
  return {shape.n_degrees(order) * per_degree, offset, before * per_degree + offset};
}

template <class T>
void into_frames(const FrameShape& shape, int n_edges, const T* const* atoms, const T* rotations,
                 const T* radial, std::ptrdiff_t radial_stride, T* const* to) {
  const int channels = shape.channels;
  for (int e = 0; e < n_edges; ++e, radial += radial_stride) {
    for (int part = 0; part < 2 * (shape.lmax + 1); ++part) {
      const int side = part % 2, l = part / 2, n = 2 * l + 1;
      const T *x = atoms[2 * e + side] + l * l * channels, *matrix = rotations + rotations_below(l) + l * n;
      for (int m = 0; m <= std::min(l, shape.mmax); ++m) {
        const RowOfOrder row = row_of_order(shape, l, m, side);
        const T* weights = radial + row.of_weights;
        const std::ptrdiff_t at = static_cast<std::ptrdiff_t>(e) * row.width + row.in_order;
        for (int c = 0; c < channels; c += lanes<T>) {
          const Vec<T> weight = load<T>(weights + c);
          const Vec<T> real = combined<T>(n, matrix + m * n, 1, x + c, channels) * weight;
          if (m == 0) {
            store<T>(to[0] + at + c, real);
            continue;
          }
          const Vec<T> imaginary = combined<T>(n, matrix - m * n, 1, x + c, channels) * weight;
          store<T>(to[3 * m - 2] + at + c, real + imaginary);
          store<T>(to[3 * m - 1] + at + c, real);
          store<T>(to[3 * m] + at + c, imaginary);
        }
      }
    }
    rotations += rotations_below(shape.lmax + 1);
  }
}

}  // namespace
}  // namespace distmlip::kernels::irreps
