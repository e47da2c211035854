// "uvu" tensor-product convolution on a device; messages of edges are never stored. A thread has one channel
// of one path at one receiver, so that neighbouring threads read neighbouring channels.
#pragma once

#include "kernels/device/parallel.h"
#include "kernels/device_operators.h"

namespace distmlip::kernels {

/// The components of one channel. Loops over them are unrolled to the largest irrep, so that they stay in
/// registers.
template <class Real>
struct Components {
  Real of[most_components];

  DISTMLIP_DEVICE void load(const Real* from, int n, int stride) {
    DISTMLIP_UNROLL
    for (int k = 0; k < most_components; ++k) of[k] = k < n ? from[k * stride] : Real(0);
  }
  DISTMLIP_DEVICE void store(Real* to, int n, int stride) const {
    DISTMLIP_UNROLL
    for (int k = 0; k < most_components; ++k)
      if (k < n) to[k * stride] = of[k];
  }
  /// of[k] += factor · row[k]
  DISTMLIP_DEVICE void add(Real factor, const Real* row, int n) {
    DISTMLIP_UNROLL
    for (int k = 0; k < most_components; ++k)
      if (k < n) of[k] += factor * row[k];
  }
  /// Σ_k of[k] row[k]
  DISTMLIP_DEVICE Real dot(const Real* row, int n) const {
    Real sum = 0;
    DISTMLIP_UNROLL
    for (int k = 0; k < most_components; ++k)
      if (k < n) sum += of[k] * row[k];
    return sum;
  }
};

template <class Backend, class Real>
void fill_zero(const Backend& backend, int64_t n, Real* to) {
  backend.for_each(n, [=] DISTMLIP_DEVICE(int64_t k) { to[k] = 0; });
}

template <class Backend, class Real>
void convolve(const Backend& backend, const PathsOfDevice& paths, const ConvolvedEdges<Real>& edges,
              Real* messages) {
  fill_zero(backend, edges.n_rows * paths.message_width, messages);
  backend.for_each(edges.n_rows * paths.n_weights, [=] DISTMLIP_DEVICE(int64_t k) {
    const int64_t row = k / paths.n_weights, weight = k % paths.n_weights;
    const PathOfDevice path = paths.all[paths.of_weight[weight]];
    const int64_t channel = weight - path.weight;
    Components<Real> sums{};
    for (int64_t edge = edges.row_begin[row]; edge < edges.row_begin[row + 1]; ++edge) {
      const Real* sender = edges.rows + edges.senders[edge] * paths.sender_width + path.sender + channel;
      const Real* coupling = edges.couplings + edge * paths.n_couplings + path.coupling;
      const Real of_channel = edges.weights[edge * paths.n_weights + weight];
      for (int i = 0; i < path.n_in; ++i)
        sums.add(of_channel * sender[i * path.channels], coupling + i * path.n_out, path.n_out);
    }
    sums.store(messages + row * paths.message_width + path.message + channel, path.n_out,
               path.message_stride);
  });
}

}  // namespace distmlip::kernels
