// The edges of a partition at the present positions: what edge_filter.h describes, on a device.
#pragma once

#include "kernels/device/parallel.h"
#include "kernels/device/read_numbers.h"
#include "kernels/device/step.h"
#include "kernels/device/write_triples.h"
#include "kernels/edge_filter.h"

namespace distmlip::kernels {

/// Which of the candidates of all rows are edges, 32 of a row to a mask. Rows begin with a new mask, so row
/// r's begin at row_begin[r] / 32 + r or before, and no list of where they begin is needed.
DISTMLIP_DEVICE inline int64_t first_mask_of_row(const int64_t* row_begin, int64_t row) {
  return row_begin[row] / group_lanes + row;
}

template <class Backend>
void gather_atoms(const Backend& backend, int64_t n_rows, const int32_t* atoms, const double* positions,
                  const int32_t* wrap, LocalAtom* rows) {
  backend.for_each(n_rows, [=] DISTMLIP_DEVICE(int64_t row) {
    const int64_t atom = atoms[row];
    for (int k = 0; k < 3; ++k) rows[row].position[k] = positions[3 * atom + k];
    rows[row].wrap = wrap[atom];
  });
}

/// Masks of the candidates whose squared length is below the limits, and how many of each there are in each
/// row.
template <class Backend>
void mask_edges(const Backend& backend, const FilterRequest& request, const StepEdges& out, int32_t* n_edges,
                int32_t* n_short) {
  using Group = typename Backend::Group;
  const CandidateRows rows = request.rows;
  const LocalAtom* atoms = request.atoms;
  const ShiftTable table = request.table;
  const double limit = request.limit, bond_limit = request.bond_limit;
  uint32_t *masks = out.masks.data(), *short_masks = out.short_masks.data();
  backend.for_each_group(request.n_rows, [=] DISTMLIP_DEVICE(const Group& group, int64_t row) {
    const LocalAtom receiver = atoms[row];
    const int64_t end = rows.row_begin[row + 1];
    int64_t place = first_mask_of_row(rows.row_begin, row);
    int32_t count = 0, short_count = 0;
    for (int64_t first = rows.row_begin[row]; first < end; first += group_lanes, ++place) {
      typename Backend::template PerLane<double> squared;
      group.each_lane([&](int lane) {
        squared[lane] = HUGE_VAL;
        if (first + lane >= end) return;
        double vector[3];
        edge_vector(table, receiver, atoms[rows.sender[first + lane]], rows.shift_code[first + lane], vector);
        squared[lane] = squared_length(vector[0], vector[1], vector[2]);
      });
      const uint32_t mask = group.ballot([&](int lane) { return squared[lane] < limit; });
      const uint32_t short_mask = group.ballot([&](int lane) { return squared[lane] < bond_limit; });
      group.once([&] {
        masks[place] = mask;
        if (n_short) short_masks[place] = short_mask;
      });
      count += count_bits(mask);
      short_count += count_bits(short_mask);
    }
    group.once([&] {
      n_edges[row] = count;
      if (n_short) n_short[row] = short_count;
    });
  });
}

/// Finds the edges, and the short ones if bond_limit is above zero.
template <class Backend>
StepEdges filter_edges(const Backend& backend, const FilterRequest& request) {
  StepEdges out;
  const int64_t n_masks = request.n_candidates / group_lanes + request.n_rows + 1;
  const bool has_bonds = request.bond_limit > 0;
  out.masks = backend.template array<uint32_t>(n_masks);
  const auto count_array = backend.template array<int32_t>(request.n_rows);
  Array<int32_t> short_array;
  if (has_bonds) {
    out.short_masks = backend.template array<uint32_t>(n_masks);
    short_array = backend.template array<int32_t>(request.n_rows);
  }
  mask_edges(backend, request, out, count_array.data(), short_array.data());
  out.row_begin = backend.template array<int64_t>(request.n_rows + 1);
  if (!has_bonds) {
    out.n_edges = scan(backend, count_array.data(), request.n_rows, out.row_begin.data());
    return out;
  }
  backend.sum_before(count_array.data(), request.n_rows, out.row_begin.data());
  out.short_begin = backend.template array<int64_t>(request.n_rows + 1);
  backend.sum_before(short_array.data(), request.n_rows, out.short_begin.data());
  const auto sizes = read_numbers(backend, NumberPlaces<2>{{out.row_begin.data() + request.n_rows,
                                                            out.short_begin.data() + request.n_rows}});
  out.n_edges = sizes[0];
  out.n_short = sizes[1];
  return out;
}

/// Writes what filter_edges() found.
template <class Backend, class Real>
void write_edges(const Backend& backend, const FilterRequest& request, const StepEdges& edges,
                 const EdgeOutput<Real>& out) {
  using Group = typename Backend::Group;
  const CandidateRows rows = request.rows;
  const LocalAtom* atoms = request.atoms;
  const ShiftTable table = request.table;
  const uint32_t *masks = edges.masks.data(), *short_masks = edges.short_masks.data();
  const int64_t *row_begin = edges.row_begin.data(), *short_begin = edges.short_begin.data();
  const auto body = [=] DISTMLIP_DEVICE(const Group& group, int64_t row, Triples<Real>& vectors) {
    const LocalAtom receiver = atoms[row];
    const int64_t end = rows.row_begin[row + 1];
    int64_t place = first_mask_of_row(rows.row_begin, row), next = row_begin[row];
    int64_t next_short = short_masks ? short_begin[row] : 0;
    for (int64_t first = rows.row_begin[row]; first < end; first += group_lanes, ++place) {
      const uint32_t mask = masks[place], short_mask = short_masks ? short_masks[place] : 0;
      group.each(mask, [&](int lane, int nth) {
        const int64_t candidate = first + lane, edge = next + nth;
        const int32_t sender = rows.sender[candidate];
        double vector[3];
        edge_vector(table, receiver, atoms[sender], rows.shift_code[candidate], vector);
        for (int k = 0; k < 3; ++k) vectors.of[3 * nth + k] = static_cast<Real>(vector[k]);
        if (out.candidate) out.candidate[edge] = static_cast<int32_t>(candidate);
        out.edge_of[candidate] = static_cast<int32_t>(edge);
        out.senders[edge] = sender;
        out.receivers[edge] = row;
        const int before = count_bits(short_mask & ((1u << lane) - 1));
        if (short_mask >> lane & 1) out.short_edge[next_short + before] = static_cast<int32_t>(edge);
      });
      group.wait();
      const int count = count_bits(mask);
      group.each_lane([&](int lane) {
        for (int k = lane; k < 3 * count; k += group_lanes) out.vectors[3 * next + k] = vectors.of[k];
        if (first + lane < end && !(mask >> lane & 1)) out.edge_of[first + lane] = -1;
      });
      group.wait();
      next += count;
      next_short += count_bits(short_mask);
    }
  };
  backend.template for_each_group_with<Triples<Real>>(request.n_rows, body);
}

}  // namespace distmlip::kernels
