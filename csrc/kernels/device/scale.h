// Tensors of senders times radial functions, summed at receivers, and the adjoint; messages of edges are
// never stored. A thread has one channel of one receiver, sender or edge, so that neighbouring threads read
// neighbouring channels.
#pragma once

#include "kernels/device/parallel.h"
#include "kernels/device_operators.h"
#include "kernels/tensor_algebra.h"

namespace distmlip::kernels {

/// The nine numbers of a row's channel, `stride` apart, and the three of an edge.
template <class Real, int N>
DISTMLIP_DEVICE Numbers<Real, N> load_numbers(const Real* row, int32_t stride) {
  Numbers<Real, N> x;
  DISTMLIP_UNROLL
  for (int m = 0; m < N; ++m) x.of[m] = row[m * stride];
  return x;
}
template <class Real, int N>
DISTMLIP_DEVICE void store_numbers(Real* row, int32_t stride, const Numbers<Real, N>& x) {
  DISTMLIP_UNROLL
  for (int m = 0; m < N; ++m) row[m * stride] = x.of[m];
}

DISTMLIP_DEVICE constexpr int degree_of(int number) { return number == 0 ? 0 : number < 4 ? 1 : 2; }

/// sums += radial functions · tensor
template <class Real>
DISTMLIP_DEVICE void add_scaled(const Numbers<Real, 3>& radial, const Tensor<Real>& tensor,
                                Tensor<Real>& sums) {
  DISTMLIP_UNROLL
  for (int m = 0; m < n_tensor; ++m) sums.of[m] += radial.of[degree_of(m)] * tensor.of[m];
}

template <class Backend, class Real>
void scale(const Backend& backend, const ScaledEdges<Real>& edges, Real* messages) {
  const int32_t n = edges.n_channels;
  backend.for_each(edges.n_rows * n, [=] DISTMLIP_DEVICE(int64_t k) {
    const int64_t row = k / n, channel = k % n;
    Tensor<Real> sums{};
    for (int64_t edge = edges.row_begin[row]; edge < edges.row_begin[row + 1]; ++edge)
      add_scaled(load_numbers<Real, 3>(edges.radial + edge * 3 * n + channel, n),
                 load_numbers<Real, n_tensor>(edges.rows + edges.senders[edge] * n_tensor * n + channel, n),
                 sums);
    store_numbers(messages + row * n_tensor * n + channel, n, sums);
  });
}

template <class Backend, class Real>
void scale_back(const Backend& backend, const ScaledEdges<Real>& edges, const SentEdges& sent,
                const int64_t* receivers, const Real* gradients, Real* of_rows, Real* of_radial) {
  const int32_t n = edges.n_channels;
  backend.for_each(edges.n_edges * n, [=] DISTMLIP_DEVICE(int64_t k) {
    const int64_t edge = k / n, channel = k % n;
    const auto g = load_numbers<Real, n_tensor>(gradients + receivers[edge] * n_tensor * n + channel, n);
    const auto x = load_numbers<Real, n_tensor>(edges.rows + edges.senders[edge] * n_tensor * n + channel, n);
    Numbers<Real, 3> sums{};
    DISTMLIP_UNROLL
    for (int m = 0; m < n_tensor; ++m) sums.of[degree_of(m)] += g.of[m] * x.of[m];
    store_numbers(of_radial + edge * 3 * n + channel, n, sums);
  });
  // A sender gathers from the edges that it sends (sum_forces.h says why that is better than adding to it).
  backend.for_each(sent.n_local * n, [=] DISTMLIP_DEVICE(int64_t k) {
    const int64_t row = k / n, channel = k % n;
    Tensor<Real> sums{};
    for (int64_t place = sent.row_begin[row]; place < sent.row_begin[row + 1]; ++place) {
      const int32_t edge = sent.edge_of[sent.candidate[place]];
      if (edge < 0) continue;
      add_scaled(load_numbers<Real, 3>(edges.radial + edge * int64_t(3) * n + channel, n),
                 load_numbers<Real, n_tensor>(gradients + receivers[edge] * n_tensor * n + channel, n), sums);
    }
    store_numbers(of_rows + row * n_tensor * n + channel, n, sums);
  });
}

}  // namespace distmlip::kernels
