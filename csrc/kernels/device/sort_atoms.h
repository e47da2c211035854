// Sorts atoms into bins and copies those near periodic faces: what neighbors/bins.cpp does, on a device.
#pragma once

#include "core/error.h"
#include "kernels/device/graph.h"
#include "kernels/device/read_numbers.h"

namespace distmlip::kernels {

/// How many of n ascending keys are below `key`.
DISTMLIP_DEVICE inline int64_t count_below(const uint32_t* keys, int64_t n, uint32_t key) {
  int64_t low = 0, high = n;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (keys[middle] < key)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

/// Numbers the slots of all bins, ghosts included; returns the first ordinal of every bin.
template <class Backend>
Array<int32_t> number_slots(const Backend& backend, SortedAtoms& sorted) {
  const Grid grid = sorted.grid;
  const int64_t n_bins = grid.n_bins(), n_atoms = sorted.n_atoms;
  const auto first_array = backend.template array<int32_t>(n_bins + 1);
  const auto count_array = backend.template array<int32_t>(n_bins);
  sorted.begin = backend.template array<int64_t>(n_bins + 1);
  const uint32_t* bin_of_ordinal = sorted.bin.data();
  int32_t* first_ordinal = first_array.data();
  int32_t* count = count_array.data();
  backend.for_each(n_bins + 1, [=] DISTMLIP_DEVICE(int64_t bin) {
    first_ordinal[bin] =
        static_cast<int32_t>(count_below(bin_of_ordinal, n_atoms, static_cast<uint32_t>(bin)));
  });
  backend.for_each(n_bins, [=] DISTMLIP_DEVICE(int64_t bin) {
    const int64_t real = grid.source_of(bin).real;
    count[bin] = real < 0 ? 0 : first_ordinal[real + 1] - first_ordinal[real];
  });
  sorted.n_slots = scan(backend, count, n_bins, sorted.begin.data());
  return first_array;
}

/// Writes atoms and their copies into the slots.
template <class Backend>
void fill_slots(const Backend& backend, const Array<int32_t>& first_ordinals, const double* positions,
                SortedAtoms& sorted) {
  using Group = typename Backend::Group;
  const Grid grid = sorted.grid;
  sorted.slot = backend.template array<int32_t>(sorted.n_atoms);
  sorted.points = backend.template array<Point>(sorted.n_slots);
  sorted.shift_code = backend.template array<uint16_t>(sorted.n_slots);
  const int64_t* begin = sorted.begin.data();
  const int32_t *first_ordinal = first_ordinals.data(), *order = sorted.order.data();
  Point* points = sorted.points.data();
  int32_t* slot_of_ordinal = sorted.slot.data();
  uint16_t* codes = sorted.shift_code.data();
  backend.for_each_group(grid.n_bins(), [=] DISTMLIP_DEVICE(const Group& group, int64_t bin) {
    const int64_t to = begin[bin], count = begin[bin + 1] - to;
    if (count == 0) return;
    const GridBin source = grid.source_of(bin);
    const int64_t from = first_ordinal[source.real];
    for (int64_t first = 0; first < count; first += group_lanes) {
      group.each_lane([&](int lane) {
        const int64_t k = first + lane;
        if (k >= count) return;
        const auto ordinal = static_cast<int32_t>(from + k);
        const double* position = positions + 3 * static_cast<int64_t>(order[ordinal]);
        float place[3];
        for (int x = 0; x < 3; ++x) {
          // A copy is rounded twice, as neighbors/bins.cpp does it: the rounding margin allows for that.
          const auto shift = static_cast<float>(shift_component(grid.cell, source.shift, x));
          place[x] = static_cast<float>(position[x] - grid.middle[x]) + shift;
        }
        points[to + k] = {place[0], place[1], place[2], ordinal};
        codes[to + k] = grid.code(source.shift);
        if (source.real == bin) slot_of_ordinal[ordinal] = static_cast<int32_t>(to + k);
      });
    }
  });
}

template <class Backend>
SortedAtoms sort_atoms(const Backend& backend, const Grid& grid, int64_t n_atoms, const double* positions) {
  SortedAtoms sorted;
  sorted.grid = grid;
  sorted.n_atoms = n_atoms;
  sorted.bin = backend.template array<uint32_t>(n_atoms);
  sorted.order = backend.template array<int32_t>(n_atoms);
  uint32_t* bins = sorted.bin.data();
  int32_t* order = sorted.order.data();
  backend.for_each(n_atoms, [=] DISTMLIP_DEVICE(int64_t atom) {
    bins[atom] = static_cast<uint32_t>(grid.bin_of(positions + 3 * atom));
    order[atom] = static_cast<int32_t>(atom);
  });
  backend.sort(sorted.bin, sorted.order, static_cast<uint32_t>(grid.n_bins()));
  const Array<int32_t> first_ordinals = number_slots(backend, sorted);
  if (sorted.n_slots > most_slots) {
    invalid("the atoms and their periodic images within the cutoff are more than ", most_slots,
            ": use a smaller cutoff, or a part of the system at a time");
  }
  fill_slots(backend, first_ordinals, positions, sorted);
  return sorted;
}

}  // namespace distmlip::kernels
