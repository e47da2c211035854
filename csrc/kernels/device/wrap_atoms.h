// Moves atoms by whole cells, and finds how far they extend: what neighbors/wrapping.h does, on a device.
#pragma once

#include "kernels/device/extremes.h"
#include "kernels/device/graph.h"

namespace distmlip::kernels {

/// Of x, y, z; −x, −y, −z; the same of fractional coordinates; absolute coordinates as given.
constexpr int n_extremes = 13;

/// What is noted of all atoms, to be read at once.
struct AtomNotes {
  uint64_t extremes[n_extremes];  // ordered()
  int32_t refused;
  uint8_t occupied[3 * wrap_shares];
};

/// Writes a position that follows from its count of cells; notes how far it extends.
DISTMLIP_DEVICE inline void settle(const WrapRequest& request, const int32_t* counts, const double* given,
                                   double* position, double* fractional, double* extremes) {
  for (int k = 0; k < 3; ++k) position[k] = given[k] - shift_component(request.cell, counts, k);
  for (int k = 0; k < 3; ++k) {
    const double* row = request.to_fractional + 3 * k;
    fractional[k] = (row[0] * position[0] + row[1] * position[1]) + row[2] * position[2];
    const double found[4] = {position[k], -position[k], fractional[k], -fractional[k]};
    for (int m = 0; m < 4; ++m)
      if (found[m] > extremes[3 * m + k]) extremes[3 * m + k] = found[m];
  }
}

DISTMLIP_DEVICE inline int32_t share_of(double fractional) {
  const double share = fractional * wrap_shares;
  return share <= 0 ? 0 : share >= wrap_shares - 1 ? wrap_shares - 1 : static_cast<int32_t>(share);
}

inline void set_ranges(const AtomNotes& notes, AtomExtent& extent) {
  for (int k = 0; k < 3; ++k) {
    extent.cartesian_low[k] = -from_ordered(notes.extremes[3 + k]);
    extent.cartesian_high[k] = from_ordered(notes.extremes[k]);
    extent.fractional_low[k] = -from_ordered(notes.extremes[9 + k]);
    extent.fractional_high[k] = from_ordered(notes.extremes[6 + k]);
  }
}

template <class Backend>
WrappedAtoms wrap_atoms(const Backend& backend, const WrapRequest& request, const double* given) {
  const int64_t n_atoms = request.n_atoms;
  WrappedAtoms out;
  out.counts = backend.template array<int32_t>(3 * n_atoms);
  out.positions = backend.template array<double>(3 * n_atoms);
  const auto notes_array = backend.template array<AtomNotes>(1);
  AtomNotes* notes = notes_array.data();
  int32_t* all_counts = out.counts.data();
  double* positions = out.positions.data();
  backend.for_each(3 * wrap_shares, [=] DISTMLIP_DEVICE(int64_t k) {
    notes->occupied[k] = 0;
    if (k == 0) notes->refused = no_atom;
  });
  for_each_with_extremes<n_extremes>(
      backend, n_atoms, notes->extremes, [=] DISTMLIP_DEVICE(int64_t atom, double* extremes) {
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
          atomic_min(&notes->refused, static_cast<int32_t>(atom));
          return;
        }
        double fractional[3];
        settle(request, counts, x, positions + 3 * atom, fractional, extremes);
        for (int k = 0; k < 3; ++k) {
          uint8_t& share = notes->occupied[k * wrap_shares + share_of(fractional[k])];
          if (request.periodic[k] && !share) share = 1;
        }
      });
  AtomNotes read;
  backend.read(notes, 1, &read);
  set_ranges(read, out.extent);
  out.extent.farthest = from_ordered(read.extremes[12]);
  out.extent.refused = read.refused;
  out.extent.occupied.assign(read.occupied, read.occupied + 3 * wrap_shares);
  return out;
}

template <class Backend>
void lift_atoms(const Backend& backend, const WrapRequest& request, const double* given,
                const LiftRequest& lift, WrappedAtoms& out) {
  const auto notes_array = backend.template array<AtomNotes>(1);
  int32_t* all_counts = out.counts.data();
  double* positions = out.positions.data();
  for_each_with_extremes<n_extremes>(backend, request.n_atoms, notes_array.data()->extremes,
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
  AtomNotes read;
  backend.read(notes_array.data(), 1, &read);
  set_ranges(read, out.extent);
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
