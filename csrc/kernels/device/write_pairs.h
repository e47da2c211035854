// The neighbour list of a whole system from what the search found, sorted by atoms.
#pragma once

#include "kernels/device/edge_batches.h"
#include "kernels/device/read_numbers.h"
#include "kernels/device/write_triples.h"

namespace distmlip::kernels {

/// begin[i]: the first pair of atom i; rows are those of all ordinals. Returns the number of pairs.
template <class Backend>
Array<int64_t> pairs_begin(const Backend& backend, const SortedAtoms& sorted, const EdgeMasks& found,
                           bool self_interaction, int64_t* n_pairs) {
  const auto count_array = backend.template array<int32_t>(sorted.n_atoms);
  const auto begin = backend.template array<int64_t>(sorted.n_atoms + 1);
  int32_t* count = count_array.data();
  const int32_t* order = sorted.order.data();
  const int64_t* row_begin = found.row_begin.data();
  backend.for_each(sorted.n_atoms, [=] DISTMLIP_DEVICE(int64_t ordinal) {
    count[order[ordinal]] =
        static_cast<int32_t>(row_begin[ordinal + 1] - row_begin[ordinal]) + self_interaction;
  });
  *n_pairs = scan(backend, count, sorted.n_atoms, begin.data());
  return begin;
}

/// What is staged on its way to memory.
template <class Real>
struct PairScratch {
  Triples<Real> vectors;
  Triples<int32_t> shifts;
};

struct PairGeometry {
  int64_t i = 0, j = 0;
  int32_t shift[3] = {};
  double vector[3] = {}, squared = 0;
};

/// Writes the pairs of every atom from begin[atom] on.
template <class Backend, class Real>
void write_found_pairs(const Backend& backend, const SortedAtoms& sorted, const EdgeRule& rule,
                       const EdgeMasks& found, const int64_t* begin, bool self_interaction,
                       const PairArrays<Real>& out) {
  using Group = typename Backend::Group;
  using Batch = EdgeBatch<Backend>;
  const Grid grid = sorted.grid;
  const int32_t* order = sorted.order.data();
  const Point* points = sorted.points.data();
  const uint16_t* codes = sorted.shift_code.data();
  const int64_t* row_begin = found.row_begin.data();
  for_each_batch<PairScratch<Real>>(
      backend, found,
      [=] DISTMLIP_DEVICE(const Group& group, const Batch& batch, PairScratch<Real>& scratch) {
        typename Backend::template PerLane<PairGeometry> pair;
        typename Backend::template PerLane<int64_t> place;
        group.each_lane([&](int lane) {
          place[lane] = 0;
          if (lane >= batch.count) return;
          PairGeometry& mine = pair[lane];
          mine.i = order[batch.row[lane]];
          mine.j = order[points[batch.slot[lane]].ordinal];
          mine.squared = rule.edge(grid, mine.i, mine.j, codes[batch.slot[lane]], mine.shift, mine.vector);
          const int64_t in_row = batch.first_edge + lane - row_begin[batch.row[lane]];
          place[lane] = begin[mine.i] + self_interaction + in_row;
          if (out.i) out.i[place[lane]] = mine.i;
          if (out.j) out.j[place[lane]] = mine.j;
          if (out.sender) out.sender[place[lane]] = static_cast<int32_t>(mine.j);
          if (out.shift_code) out.shift_code[place[lane]] = codes[batch.slot[lane]];
          if (out.distance) out.distance[place[lane]] = static_cast<Real>(sqrt(mine.squared));
        });
        if (out.vector) {
          const auto component = [&](int lane, int k) { return static_cast<Real>(pair[lane].vector[k]); };
          write_triples(group, batch.count, scratch.vectors, component, place, out.vector);
        }
        if (out.shift) {
          const auto component = [&](int lane, int k) { return pair[lane].shift[k]; };
          write_triples(group, batch.count, scratch.shifts, component, place, out.shift);
        }
      });
}

/// Writes every atom as its own neighbour, in front of its other pairs.
template <class Backend, class Real>
void write_own_pairs(const Backend& backend, int64_t n_atoms, uint16_t no_shift, const int64_t* begin,
                     const PairArrays<Real>& out) {
  backend.for_each(n_atoms, [=] DISTMLIP_DEVICE(int64_t atom) {
    const int64_t pair = begin[atom];
    if (out.i) out.i[pair] = atom;
    if (out.j) out.j[pair] = atom;
    if (out.sender) out.sender[pair] = static_cast<int32_t>(atom);
    if (out.shift_code) out.shift_code[pair] = no_shift;
    if (out.distance) out.distance[pair] = 0;
    for (int k = 0; k < 3; ++k) {
      if (out.vector) out.vector[3 * pair + k] = 0;
      if (out.shift) out.shift[3 * pair + k] = 0;
    }
  });
}

template <class Backend, class Real>
void write_pairs(const Backend& backend, const SortedAtoms& sorted, const EdgeRule& rule,
                 const EdgeMasks& found, const int64_t* begin, bool self_interaction,
                 const PairArrays<Real>& out) {
  write_found_pairs(backend, sorted, rule, found, begin, self_interaction, out);
  if (self_interaction)
    write_own_pairs(backend, sorted.n_atoms, static_cast<uint16_t>(sorted.grid.n_codes() / 2), begin, out);
}

}  // namespace distmlip::kernels
