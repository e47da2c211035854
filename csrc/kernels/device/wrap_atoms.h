// Moves atoms by whole cells, and finds how far they extend: what graph/wrapping.h does, on a device.
#pragma once

#include "kernels/device/extremes.h"
#include "kernels/device/graph.h"

namespace distmlip::kernels {

/// Of x, y, z; −x, −y, −z; the same of fractional coordinates; absolute coordinates as given.
constexpr int n_extremes = 13;

/// Writes a position that follows from its count of cells; notes how far it extends.
DISTMLIP_DEVICE inline void settle(const WrapRequest& request, const int32_t* counts, const double* given,
                                   double* position, double* fractional, double* extremes) {
  for (int k = 0; k < 3; ++k) position[k] = given[k] - shift_component(request.cell, counts, k);
  for (int k = 0; k < 3; ++k) {
    const double* row = request.to_fractional + 3 * k;
    fractional[k] = (row[0] * position[0] + row[1] * position[1]) + row[2] * position[2];
    const double found[4] = {position[k], -position[k], fractional[k], -fractional[k]};
    for (int m = 0; m < 4; ++m) {
      if (found[m] > extremes[3 * m + k]) extremes[3 * m + k] = found[m];
    }
  }
}

DISTMLIP_DEVICE inline int32_t share_of(double fractional) {
  const double share = fractional * wrap_shares;
  return share <= 0 ? 0 : share >= wrap_shares - 1 ? wrap_shares - 1 : static_cast<int32_t>(share);
}

template <class Backend>
AtomExtent read_extent(const Backend& backend, const uint64_t* all) {
  uint64_t bits[n_extremes];
  backend.read(all, n_extremes, bits);
  AtomExtent extent;
  for (int k = 0; k < 3; ++k) {
    extent.cartesian_low[k] = -from_ordered(bits[3 + k]);
    extent.cartesian_high[k] = from_ordered(bits[k]);
    extent.fractional_low[k] = -from_ordered(bits[9 + k]);
    extent.fractional_high[k] = from_ordered(bits[6 + k]);
  }
  extent.farthest = from_ordered(bits[12]);
  return extent;
}

template <class Backend>
WrappedAtoms wrap_atoms(const Backend& backend, const WrapRequest& request, const double* given) {
  const int64_t n_atoms = request.n_atoms;
  WrappedAtoms out;
  out.counts = backend.template array<int32_t>(3 * n_atoms);
  out.positions = backend.template array<double>(3 * n_atoms);
  const auto occupied_array = backend.template array<uint8_t>(3 * wrap_shares);
  const auto refused_array = backend.template array<int32_t>(1);
  const auto extremes_array = backend.template array<uint64_t>(n_extremes);
  int32_t* all_counts = out.counts.data();
  double* positions = out.positions.data();
  uint8_t* occupied = occupied_array.data();
  int32_t* refused = refused_array.data();
  backend.for_each(3 * wrap_shares, [=] DISTMLIP_DEVICE(int64_t k) {
    occupied[k] = 0;
    if (k == 0) *refused = no_atom;
  });
  for_each_with_extremes<n_extremes>(
      backend, n_atoms, extremes_array.data(), [=] DISTMLIP_DEVICE(int64_t atom, double* extremes) {
        const double* x = given + 3 * atom;
        int32_t* counts = all_counts + 3 * atom;
        bool allowed = true;
        for (int k = 0; k < 3; ++k) {
          const double distance = fabs(x[k]);
          allowed = allowed && distance <= request.farthest_allowed;
          if (distance > extremes[12]) extremes[12] = distance;
        }
        for (int k = 0; k < 3; ++k) {
          const double* row = request.to_fractional + 3 * k;
          const double cells =
              request.periodic[k] ? floor((row[0] * x[0] + row[1] * x[1]) + row[2] * x[2]) : 0.0;
          allowed = allowed && fabs(cells) <= request.farthest_allowed;
          counts[k] = allowed ? static_cast<int32_t>(cells) : 0;
        }
        if (!allowed) {
          atomic_min(refused, static_cast<int32_t>(atom));
          return;
        }
        double fractional[3];
        settle(request, counts, x, positions + 3 * atom, fractional, extremes);
        for (int k = 0; k < 3; ++k) {
          uint8_t& share = occupied[k * wrap_shares + share_of(fractional[k])];
          if (request.periodic[k] && !share) share = 1;
        }
      });
  out.extent = read_extent(backend, extremes_array.data());
  out.extent.occupied.resize(3 * wrap_shares);
  backend.read(occupied, 3 * wrap_shares, out.extent.occupied.data());
  backend.read(refused, 1, &out.extent.refused);
  return out;
}

template <class Backend>
void lift_atoms(const Backend& backend, const WrapRequest& request, const double* given,
                const LiftRequest& lift, WrappedAtoms& out) {
  const auto extremes_array = backend.template array<uint64_t>(n_extremes);
  int32_t* all_counts = out.counts.data();
  double* positions = out.positions.data();
  for_each_with_extremes<n_extremes>(backend, request.n_atoms, extremes_array.data(),
                                     [=] DISTMLIP_DEVICE(int64_t atom, double* extremes) {
                                       double* x = positions + 3 * atom;
                                       int32_t* counts = all_counts + 3 * atom;
                                       for (int k = 0; k < 3; ++k) {
                                         const double* row = request.to_fractional + 3 * k;
                                         const double place = (row[0] * x[0] + row[1] * x[1]) + row[2] * x[2];
                                         if (share_of(place) < lift.first_share[k]) --counts[k];
                                       }
                                       double fractional[3];
                                       settle(request, counts, given + 3 * atom, x, fractional, extremes);
                                     });
  const AtomExtent extent = read_extent(backend, extremes_array.data());
  for (int k = 0; k < 3; ++k) {
    out.extent.cartesian_low[k] = extent.cartesian_low[k];
    out.extent.cartesian_high[k] = extent.cartesian_high[k];
    out.extent.fractional_low[k] = extent.fractional_low[k];
    out.extent.fractional_high[k] = extent.fractional_high[k];
  }
}

/// occupied[layer]: whether any atom lies in that layer of an axis.
template <class Backend>
std::vector<uint8_t> occupied_layers(const Backend& backend, int64_t n_atoms, const double* positions,
                                     const LayerRequest& request) {
  const auto occupied_array = backend.template array<uint8_t>(request.layers.n);
  uint8_t* occupied = occupied_array.data();
  backend.for_each(request.layers.n, [=] DISTMLIP_DEVICE(int64_t k) { occupied[k] = 0; });
  backend.for_each(n_atoms, [=] DISTMLIP_DEVICE(int64_t atom) {
    const double* x = positions + 3 * atom;
    const double* row = request.to_fractional;
    const double place = (row[0] * x[0] + row[1] * x[1]) + row[2] * x[2];
    uint8_t& layer = occupied[request.layers.layer(place)];
    if (!layer) layer = 1;
  });
  std::vector<uint8_t> result(static_cast<size_t>(request.layers.n));
  backend.read(occupied, request.layers.n, result.data());
  return result;
}

}  // namespace distmlip::kernels
