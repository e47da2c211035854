// Rows of senders times radial functions, summed at receivers, and the adjoint by sender.
#pragma once

#include "kernels/irreps/vectors_inline.h"

namespace distmlip::kernels::irreps {
namespace {

/// out[m][c] += Σ_edges radial[c] sender[m][c], for n_in rows.
template <class T, int ROWS>
DISTMLIP_INLINE void scale_rows(const PathEdges<T>& edges, T* out, std::ptrdiff_t out_stride) {
  for (int c = 0; c < edges.n_channels; c += lanes<T>) {
    Vec<T> sums[ROWS];
    for (int m = 0; m < ROWS; ++m) sums[m] = load<T>(out + m * out_stride + c);
    for (int e = 0; e < edges.n_edges; ++e) {
      const Vec<T> radial = load<T>(edges.radial + e * edges.radial_stride + c);
      for (int m = 0; m < ROWS; ++m)
        sums[m] += radial * load<T>(edges.senders[e] + m * edges.sender_stride + c);
    }
    for (int m = 0; m < ROWS; ++m) store<T>(out + m * out_stride + c, sums[m]);
  }
}

/// Of one row that all edges share, from the gradients at their other ends, which are the rows of `edges`.
template <class T, int ROWS>
DISTMLIP_INLINE void scale_rows_back(const PathEdges<T>& edges, const T* row, T* back, std::ptrdiff_t stride,
                                     T* length_gradients) {
  for (int e = 0; e < edges.n_edges; ++e) {
    const T* radial = edges.radial + 2 * e * edges.radial_stride;
    const T* slope = radial + edges.radial_stride;
    Vec<T> of_length{};
    for (int c = 0; c < edges.n_channels; c += lanes<T>) {
      const Vec<T> weight = load<T>(radial + c);
      Vec<T> along{};
      for (int m = 0; m < ROWS; ++m) {
        const Vec<T> g = load<T>(edges.senders[e] + m * edges.sender_stride + c);
        along += g * load<T>(row + m * stride + c);
        store<T>(back + m * stride + c, load<T>(back + m * stride + c) + weight * g);
      }
      of_length += along * load<T>(slope + c);
    }
    T sum[lanes<T>];
    sums_of_lanes<T, 1>(&of_length, sum);
    length_gradients[e] += sum[0];
  }
}

template <class T>
void scale(const PathEdges<T>& edges, T* out, std::ptrdiff_t out_stride) {
  const auto of = edges.n_in == 1 ? scale_rows<T, 1> : edges.n_in == 3 ? scale_rows<T, 3> : scale_rows<T, 5>;
  of(edges, out, out_stride);
}
template <class T>
void scale_back(const PathEdges<T>& edges, const T* row, T* back, std::ptrdiff_t stride,
                T* length_gradients) {
  const auto of = edges.n_in == 1   ? scale_rows_back<T, 1>
                  : edges.n_in == 3 ? scale_rows_back<T, 3>
                                    : scale_rows_back<T, 5>;
  of(edges, row, back, stride, length_gradients);
}

}  // namespace
}  // namespace distmlip::kernels::irreps
