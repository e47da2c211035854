// The adjoint of convolve.h. A group has one path of one edge: its weights' gradients are each lane's own,
// those of its couplings are sums over lanes. A sender gathers its gradient from the edges that it sends
// (sum_forces.h says why that is better than adding to it).
#pragma once

#include "kernels/device/convolve.h"

namespace distmlip::kernels {

/// What a lane has found of an edge's gradients of couplings, (n_in, n_out).
template <class Real>
struct CouplingSums {
  Components<Real> of[most_components];
};

/// Gradients of the weights and couplings of all edges.
template <class Backend, class Real>
void edges_back(const Backend& backend, const PathsOfDevice& paths, const ConvolvedEdges<Real>& edges,
                const int64_t* receivers, const Real* gradients, const ConvolvedGradients<Real>& out) {
  using Group = typename Backend::Group;
  backend.for_each_group(edges.n_edges * paths.n, [=] DISTMLIP_DEVICE(const Group& group, int64_t k) {
    const int64_t edge = k / paths.n;
    const PathOfDevice path = paths.all[k % paths.n];
    const Real* sender = edges.rows + edges.senders[edge] * paths.sender_width + path.sender;
    const Real* message = gradients + receivers[edge] * paths.message_width + path.message;
    const Real* coupling = edges.couplings + edge * paths.n_couplings + path.coupling;
    const int64_t first_weight = edge * paths.n_weights + path.weight;
    typename Backend::template PerLane<CouplingSums<Real>> sums;
    group.each_lane([&](int lane) {
      CouplingSums<Real>& mine = sums[lane];
      mine = {};
      for (int channel = lane; channel < path.channels; channel += group_lanes) {
        Components<Real> gradient, in;
        gradient.load(message + channel, path.n_out, path.message_stride);
        in.load(sender + channel, path.n_in, path.channels);
        const Real weight = edges.weights[first_weight + channel];
        Real of_weight = 0;
        DISTMLIP_UNROLL
        for (int i = 0; i < most_components; ++i) {
          if (i >= path.n_in) continue;
          of_weight += in.of[i] * gradient.dot(coupling + i * path.n_out, path.n_out);
          mine.of[i].add(weight * in.of[i], gradient.of, path.n_out);
        }
        out.weights[first_weight + channel] = of_weight;
      }
    });
    DISTMLIP_UNROLL
    for (int i = 0; i < most_components; ++i) {
      DISTMLIP_UNROLL
      for (int m = 0; m < most_components; ++m) {
        if (i >= path.n_in || m >= path.n_out) continue;
        typename Backend::template PerLane<Real> values;
        group.each_lane([&](int lane) { values[lane] = sums[lane].of[i].of[m]; });
        const Real sum = group.reduce(values, [](Real a, Real b) { return a + b; });
        group.once(
            [&] { out.couplings[edge * paths.n_couplings + path.coupling + i * path.n_out + m] = sum; });
      }
    }
  });
}

/// Gradients of the rows of senders.
template <class Backend, class Real>
void senders_back(const Backend& backend, const PathsOfDevice& paths, const ConvolvedEdges<Real>& edges,
                  const SentEdges& sent, const int64_t* receivers, const Real* gradients, Real* out) {
  fill_zero(backend, sent.n_local * paths.sender_width, out);
  backend.for_each(sent.n_local * paths.n_channels, [=] DISTMLIP_DEVICE(int64_t k) {
    const int64_t row = k / paths.n_channels, channel = k % paths.n_channels;
    const int32_t first = paths.of_channel[channel];
    if (first < 0) return;
    const PathOfDevice of_irrep = paths.all[first];
    const int32_t place = paths.element[channel], in_irrep = place - of_irrep.sender;
    Components<Real> sums{};
    for (int64_t n = sent.row_begin[row]; n < sent.row_begin[row + 1]; ++n) {
      const int32_t edge = sent.edge_of[sent.candidate[n]];
      if (edge < 0) continue;
      const Real* message = gradients + receivers[edge] * paths.message_width;
      for (int32_t p = first; p < paths.n && paths.all[p].sender == of_irrep.sender; ++p) {
        const PathOfDevice path = paths.all[p];
        const Real* coupling = edges.couplings + edge * paths.n_couplings + path.coupling;
        const Real weight = edges.weights[edge * paths.n_weights + path.weight + in_irrep];
        Components<Real> gradient;
        gradient.load(message + path.message + in_irrep, path.n_out, path.message_stride);
        DISTMLIP_UNROLL
        for (int i = 0; i < most_components; ++i)
          if (i < path.n_in) sums.of[i] += weight * gradient.dot(coupling + i * path.n_out, path.n_out);
      }
    }
    sums.store(out + row * paths.sender_width + place, of_irrep.n_in, of_irrep.channels);
  });
}

template <class Backend, class Real>
void convolve_back(const Backend& backend, const PathsOfDevice& paths, const ConvolvedEdges<Real>& edges,
                   const SentEdges& sent, const int64_t* receivers, const Real* gradients,
                   const ConvolvedGradients<Real>& out) {
  edges_back(backend, paths, edges, receivers, gradients, out);
  senders_back(backend, paths, edges, sent, receivers, gradients, out.rows);
}

}  // namespace distmlip::kernels
