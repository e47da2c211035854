// The way back out of the frames of edges.
#pragma once

#include "kernels/irreps/frames_inline.h"

namespace distmlip::kernels::irreps {
namespace {

/// What one degree of an edge reads on the way back.
template <class T>
struct DegreeBack {
  const FrameShape& shape;
  const T* matrix;   ///< its row of order 0
  const T* weights;  ///< those of all orders, then derivatives behind `stride` numbers
  std::ptrdiff_t stride;
  const T* const* gradients;   ///< of the edge's orders
  const Turn<T>*first, *last;  ///< turns
};

/// Of degree L, and orders up to MOST of it. Indices are known to the compiler, so that rows are in
/// registers.
template <class T, int L, int MOST>
DISTMLIP_INLINE void add_degree_back(const DegreeBack<T>& of, const T* x, T* back, int side, Vec<T>* by) {
  constexpr int n = 2 * L + 1, rotated = L < MOST + 1 ? L : MOST + 1;
  const int channels = of.shape.channels;
  RowOfOrder places[MOST + 1];
  for (int m = 0; m <= MOST; ++m) places[m] = row_of_order(of.shape, L, m, side);
  for (int c = 0; c < channels; c += lanes<T>) {
    Vec<T> rows[n], of_rows[n];
#pragma GCC unroll 9
    for (int m = -rotated; m <= rotated; ++m)
      rows[L + m] = combined<T>(n, of.matrix + m * n, 1, x + c, channels);
#pragma GCC unroll 5
    for (int m = 0; m <= MOST; ++m) {
      const int at = places[m].in_order + c;
      const T* weights = of.weights + places[m].of_weights + c;
      const Vec<T> weight = load<T>(weights), real = load<T>(of.gradients[m == 0 ? 0 : 2 * m - 1] + at);
      Vec<T> by_weight = real * rows[L + m];
      of_rows[L + m] = real * weight;
      if (m > 0) {
        const Vec<T> imaginary = load<T>(of.gradients[2 * m] + at);
        by_weight += imaginary * rows[L - m];
        of_rows[L - m] = imaginary * weight;
      }
      by[2] += by_weight * load<T>(weights + of.stride);
    }
#pragma GCC unroll 9
    for (int k = 0; k < n; ++k) {
      Vec<T> sum = load<T>(back + k * channels + c);
#pragma GCC unroll 9
      for (int m = -MOST; m <= MOST; ++m) sum += of_rows[L + m] * of.matrix[m * n + k];
      store<T>(back + k * channels + c, sum);
    }
    for (const Turn<T>* turn = of.first; turn != of.last; ++turn)
      by[turn->about] += of_rows[L + turn->to] * rows[L + turn->from] * turn->factor;
  }
}

template <class T, int L, int MOST>
DISTMLIP_INLINE void add_degree_back_up_to(int most, const DegreeBack<T>& of, const T* x, T* back, int side,
                                           Vec<T>* by) {
  if constexpr (MOST < L)
    if (most > MOST) return add_degree_back_up_to<T, L, MOST + 1>(most, of, x, back, side, by);
  add_degree_back<T, L, MOST>(of, x, back, side, by);
}

template <class T>
void out_of_frames(const FrameShape& shape, const Turns<T>& turns, int n_edges, const T* const* atoms,
                   const T* rotations, const T* radial, std::ptrdiff_t radial_stride,
                   const T* const* gradients, T* const* atom_gradients, T* edge_gradients) {
  for (int e = 0; e < n_edges; ++e, radial += 2 * radial_stride, edge_gradients += 3) {
    Vec<T> by[3] = {};
    const T* of_edge[2 * largest_rotated + 1];
    for (int m = 0; m <= shape.mmax; ++m)
      for (int k = std::max(0, 2 * m - 1); k <= 2 * m; ++k)
        of_edge[k] = gradients[k] + static_cast<std::ptrdiff_t>(e) * shape.n_degrees(m) * 2 * shape.channels;
    for (int part = 0; part < 2 * (shape.lmax + 1); ++part) {
      const int side = part % 2, l = part / 2, first = l * l * shape.channels;
      const DegreeBack<T> degree{shape,
                                 rotations + rotations_below(l) + l * (2 * l + 1),
                                 radial,
                                 radial_stride,
                                 of_edge,
                                 turns.all + turns.first[l],
                                 turns.all + turns.first[l + 1]};
      const T* x = atoms[2 * e + side] + first;
      T* back = atom_gradients[2 * e + side] + first;
      switch (l) {
        case 0:
          add_degree_back<T, 0, 0>(degree, x, back, side, by);
          break;
        case 1:
          add_degree_back<T, 1, 1>(degree, x, back, side, by);
          break;
        case 2:
          add_degree_back_up_to<T, 2, 1>(shape.mmax, degree, x, back, side, by);
          break;
        case 3:
          add_degree_back_up_to<T, 3, 1>(shape.mmax, degree, x, back, side, by);
          break;
        default:
          add_degree_back_up_to<T, 4, 1>(shape.mmax, degree, x, back, side, by);
      }
    }
    sums_of_lanes<T, 3>(by, edge_gradients);
    rotations += rotations_below(shape.lmax + 1);
  }
}

}  // namespace
}  // namespace distmlip::kernels::irreps
