// "uvu" tensor-product convolution. For an edge a path is a small matrix coupling[m1][m3] = Σ_m2 CG Y[m2];
// the rest runs over channels in lanes: out[m3, c] += radial[c] Σ_m1 sender[m1, c] coupling[m1, m3].
#pragma once

#include "kernels/irreps/vectors_inline.h"

namespace distmlip::kernels::irreps {
namespace {

template <class T, int IN, int OUT, int VECTORS>
DISTMLIP_INLINE void convolve_channels(const PathEdges<T>& edges, int channel, T* out,
                                       std::ptrdiff_t out_stride) {
  Vec<T> sums[OUT][VECTORS];
  for (int m = 0; m < OUT; ++m)
    for (int v = 0; v < VECTORS; ++v) sums[m][v] = load<T>(out + m * out_stride + channel + v * lanes<T>);
  for (int e = 0; e < edges.n_edges; ++e) {
    const T* sender = edges.senders[e] + channel;
    const T* coupling = edges.couplings + e * edges.coupling_stride;
    const T* radial = edges.radial + e * edges.radial_stride + channel;
#pragma GCC unroll 8
    for (int i = 0; i < IN; ++i) {
      Vec<T> weighted[VECTORS];
      for (int v = 0; v < VECTORS; ++v)
        weighted[v] =
            load<T>(radial + v * lanes<T>) * load<T>(sender + i * edges.sender_stride + v * lanes<T>);
#pragma GCC unroll 16
      for (int m = 0; m < OUT; ++m)
        for (int v = 0; v < VECTORS; ++v) sums[m][v] += weighted[v] * coupling[i * OUT + m];
    }
  }
  for (int m = 0; m < OUT; ++m)
    for (int v = 0; v < VECTORS; ++v) store<T>(out + m * out_stride + channel + v * lanes<T>, sums[m][v]);
}

template <class T, int IN, int OUT>
__attribute__((noinline)) void convolve_path(const PathEdges<T>& edges, T* out, std::ptrdiff_t out_stride) {
  constexpr int vectors = has_32_registers || OUT <= 3 ? 2 : 1;
  int channel = 0;
  for (; channel + vectors * lanes<T> <= edges.n_channels; channel += vectors * lanes<T>)
    convolve_channels<T, IN, OUT, vectors>(edges, channel, out, out_stride);
  if (channel < edges.n_channels) convolve_channels<T, IN, OUT, 1>(edges, channel, out, out_stride);
}

/// Accumulators that fit into registers; more would be spilt.
constexpr int most_accumulators = 15;

template <class T, int IN, int OUT, bool SENDERS>
__attribute__((noinline)) void convolve_path_back(const PathEdges<T>& edges, const T* gradient,
                                                  std::ptrdiff_t gradient_stride, T* const* sender_gradients,
                                                  T* coupling_gradients,
                                                  std::ptrdiff_t coupling_gradient_stride) {
  constexpr int rows = has_32_registers && IN * OUT <= most_accumulators ? IN : 1;
  const std::ptrdiff_t stride = edges.sender_stride;
  for (int e = 0; e < edges.n_edges; ++e) {
    const T* coupling = edges.couplings + e * edges.coupling_stride;
    const T* value = edges.radial + 2 * e * edges.radial_stride;
    const T* slope = value + edges.radial_stride;
    const T* sender = edges.senders[e];
    T* sender_gradient = SENDERS ? sender_gradients[e] : nullptr;
    T* coupling_gradient = coupling_gradients + e * coupling_gradient_stride;
    Vec<T> length_gradient{};
#pragma GCC unroll 8
    for (int first = 0; first < IN; first += rows) {
      Vec<T> sums[rows * OUT + 1];
      for (int k = 0; k < rows * OUT; ++k) sums[k] = Vec<T>{};
      for (int c = 0; c < edges.n_channels; c += lanes<T>) {
        const Vec<T> radial = load<T>(value + c);
        Vec<T> through{}, out[OUT];
        for (int m = 0; m < OUT; ++m) out[m] = load<T>(gradient + m * gradient_stride + c);
#pragma GCC unroll 8
        for (int i = 0; i < rows; ++i) {
          const Vec<T> x = load<T>(sender + (first + i) * stride + c), weighted = x * radial;
          Vec<T> pulled = out[0] * coupling[(first + i) * OUT];
          sums[i * OUT] += weighted * out[0];
#pragma GCC unroll 16
          for (int m = 1; m < OUT; ++m) {
            pulled += out[m] * coupling[(first + i) * OUT + m];
            sums[i * OUT + m] += weighted * out[m];
          }
          through += x * pulled;
          if constexpr (SENDERS) {
            T* to = sender_gradient + (first + i) * stride + c;
            store<T>(to, load<T>(to) + radial * pulled);
          }
        }
        length_gradient += through * load<T>(slope + c);
      }
      if (first + rows < IN) {
        sums_of_lanes<T, rows * OUT>(sums, coupling_gradient + first * OUT);
      } else {
        sums[rows * OUT] = length_gradient;
        sums_of_lanes<T, rows * OUT + 1>(sums, coupling_gradient + first * OUT);
      }
    }
  }
}

template <class T, int IN, int OUT>
void back_of(const PathEdges<T>& edges, const T* gradient, std::ptrdiff_t gradient_stride,
             T* const* sender_gradients, T* coupling_gradients, std::ptrdiff_t stride) {
  const auto back = sender_gradients != nullptr ? convolve_path_back<T, IN, OUT, true>
                                                : convolve_path_back<T, IN, OUT, false>;
  back(edges, gradient, gradient_stride, sender_gradients, coupling_gradients, stride);
}

/// By degrees: l = (n - 1) / 2.
template <class T, int IN>
constexpr auto forward_of(int out) {
  constexpr decltype(&convolve_path<T, IN, 1>) all[] = {convolve_path<T, IN, 1>, convolve_path<T, IN, 3>,
                                                        convolve_path<T, IN, 5>, convolve_path<T, IN, 7>};
  return all[out / 2];
}
template <class T, int IN>
constexpr auto backward_of(int out) {
  constexpr decltype(&back_of<T, IN, 1>) all[] = {back_of<T, IN, 1>, back_of<T, IN, 3>, back_of<T, IN, 5>,
                                                  back_of<T, IN, 7>};
  return all[out / 2];
}

template <class T>
void convolve(const PathEdges<T>& edges, T* out, std::ptrdiff_t out_stride) {
  constexpr decltype(&forward_of<T, 1>) all[] = {forward_of<T, 1>, forward_of<T, 3>, forward_of<T, 5>,
                                                 forward_of<T, 7>};
  all[edges.n_in / 2](edges.n_out)(edges, out, out_stride);
}

template <class T>
void convolve_back(const PathEdges<T>& edges, const T* gradient, std::ptrdiff_t gradient_stride,
                   T* const* sender_gradients, T* coupling_gradients, std::ptrdiff_t stride) {
  constexpr decltype(&backward_of<T, 1>) all[] = {backward_of<T, 1>, backward_of<T, 3>, backward_of<T, 5>,
                                                  backward_of<T, 7>};
  all[edges.n_in / 2](edges.n_out)(edges, gradient, gradient_stride, sender_gradients, coupling_gradients,
                                   stride);
}

}  // namespace
}  // namespace distmlip::kernels::irreps
