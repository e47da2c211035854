// Bonds and angles of a partition: what bond_numbering.h describes, on a device.
#pragma once

#include "kernels/bond_numbering.h"
#include "kernels/device/parallel.h"
#include "kernels/device/read_numbers.h"
#include "kernels/device/step.h"

namespace distmlip::kernels {

/// The reverse of an edge; its sender has a row.
DISTMLIP_DEVICE inline int64_t reverse_of(const BondRows& rows, int64_t row, int64_t edge) {
  const int64_t sender = rows.senders[edge], end = rows.row_begin[sender + 1];
  const int64_t opposite = rows.n_codes - 1 - rows.shift_code[rows.candidate[edge]];
  for (int64_t other = rows.row_begin[sender]; other < end; ++other)
    if (rows.senders[other] == row && rows.shift_code[rows.candidate[other]] == opposite) return other;
  return edge;  // there is none only if memory is broken: then a bond of its own, and no endless search
}

/// Whether an edge is the first of its bond.
DISTMLIP_DEVICE inline bool is_first(const BondRows& rows, int64_t row, int64_t edge) {
  const int64_t sender = rows.senders[edge];
  return sender > row || (sender == row && reverse_of(rows, row, edge) >= edge);
}

/// How many bonds begin in each row, and how many angles it has: all ordered pairs of its short edges.
template <class Backend>
void count_bonds_and_angles(const Backend& backend, const BondRequest& request, int32_t* n_bonds,
                            int32_t* n_angles) {
  using Group = typename Backend::Group;
  const BondRows rows = request.rows;
  const int64_t* short_begin = request.short_begin;
  backend.for_each_group(rows.n_rows, [=] DISTMLIP_DEVICE(const Group& group, int64_t row) {
    const int64_t end = rows.row_begin[row + 1];
    int32_t n_first = 0;
    for (int64_t edge = rows.row_begin[row]; edge < end; edge += group_lanes) {
      n_first += count_bits(
          group.ballot([&](int lane) { return edge + lane < end && is_first(rows, row, edge + lane); }));
    }
    group.once([&] {
      const int64_t n_short = short_begin[row + 1] - short_begin[row];
      n_bonds[row] = n_first;
      n_angles[row] = static_cast<int32_t>(n_short * (n_short - 1));
    });
  });
}

/// Numbers bonds by the first of their edges; bond_begin: (n_rows + 1) those that begin in each row.
template <class Backend>
void write_bonds(const Backend& backend, const BondRows& edges, const int64_t* bond_begin,
                 const BondOutput& output) {
  using Group = typename Backend::Group;
  const BondRows rows = edges;
  int64_t *bond_edge = output.bond_edge, *edge_bond = output.edge_bond;
  backend.for_each_group(rows.n_rows, [=] DISTMLIP_DEVICE(const Group& group, int64_t row) {
    const int64_t end = rows.row_begin[row + 1];
    int64_t next = bond_begin[row];
    for (int64_t edge = rows.row_begin[row]; edge < end; edge += group_lanes) {
      const uint32_t mask =
          group.ballot([&](int lane) { return edge + lane < end && is_first(rows, row, edge + lane); });
      group.each(mask, [&](int lane, int nth) {
        const int64_t bond = next + nth;
        bond_edge[bond] = edge + lane;
        edge_bond[edge + lane] = bond;
        const bool has_reverse = rows.senders[edge + lane] < rows.n_rows;
        if (has_reverse) edge_bond[reverse_of(rows, row, edge + lane)] = bond;
      });
      next += count_bits(mask);
    }
  });
}

/// The bond of an edge below the bond limit; -1 if there is none, or if another one is the bond's first edge.
DISTMLIP_DEVICE inline int64_t first_bond(const BondOutput& bonds, int32_t edge) {
  const int64_t bond = bonds.edge_bond[edge];
  return bonds.bond_edge[bond] == edge ? bond : -1;
}

/// The bond of candidate k for cut bonds; -1 if it is too long.
DISTMLIP_DEVICE inline int64_t cut_bond(const BondRequest& request, const BondOutput& bonds, int64_t k) {
  const int32_t row = request.row_candidate[2 * k], edge = request.edge_of[request.row_candidate[2 * k + 1]];
  for (int64_t j = request.short_begin[row]; j < request.short_begin[row + 1]; ++j)
    if (request.short_edge[j] == edge) return bonds.edge_bond[edge];
  return -1;
}

/// to[…] = the bonds that bond(k) is for k in [0, n), where it is one; before: (n + 1) how many there are
/// before each k.
template <class Backend, class Bond>
void choose_bonds(const Backend& backend, int64_t n, Bond bond, int64_t* before, int64_t* to) {
  const auto count_array = backend.template array<int32_t>(n);
  int32_t* count = count_array.data();
  backend.for_each(n, [=] DISTMLIP_DEVICE(int64_t k) { count[k] = bond(k) >= 0; });
  backend.sum_before(count, n, before);
  backend.for_each(n, [=] DISTMLIP_DEVICE(int64_t k) {
    if (count[k]) to[before[k]] = bond(k);
  });
}

/// Numbers all bonds, finds the short and the cut ones among them, and counts angles.
template <class Backend>
BondSizes number_bonds(const Backend& backend, const BondRequest& from, const BondOutput& to) {
  const BondRequest request = from;
  const BondOutput output = to;
  const int64_t n_rows = request.rows.n_rows;
  const auto bond_counts = backend.template array<int32_t>(n_rows);
  const auto angle_counts = backend.template array<int32_t>(n_rows);
  const auto bond_begin = backend.template array<int64_t>(n_rows + 1);
  count_bonds_and_angles(backend, request, bond_counts.data(), angle_counts.data());
  backend.sum_before(bond_counts.data(), n_rows, bond_begin.data());
  backend.sum_before(angle_counts.data(), n_rows, output.angle_begin);
  write_bonds(backend, request.rows, bond_begin.data(), output);
  const auto short_before = backend.template array<int64_t>(request.n_short + 1);
  const auto cut_before = backend.template array<int64_t>(request.n_cut + 1);
  choose_bonds(
      backend, request.n_short,
      [=] DISTMLIP_DEVICE(int64_t k) { return first_bond(output, request.short_edge[k]); },
      short_before.data(), output.short_bond);
  choose_bonds(
      backend, request.n_cut, [=] DISTMLIP_DEVICE(int64_t k) { return cut_bond(request, output, k); },
      cut_before.data(), output.cut);
  const NumberPlaces<3> totals{
      {bond_begin.data() + n_rows, short_before.data() + request.n_short, output.angle_begin + n_rows}};
  const auto sizes = read_numbers(backend, totals, request.n_bounds, cut_before.data(), request.bound);
  return {sizes[0], sizes[1], sizes[2], {sizes.begin() + 3, sizes.end()}};
}

template <class Backend>
void expand_angles(const Backend& backend, int64_t n_rows, const int64_t* short_begin,
                   const int32_t* short_edge, const int64_t* angle_begin, int64_t* angles) {
  using Group = typename Backend::Group;
  backend.for_each_group(n_rows, [=] DISTMLIP_DEVICE(const Group& group, int64_t row) {
    const int32_t* edges = short_edge + short_begin[row];
    const int64_t begin = angle_begin[row], n_angles = angle_begin[row + 1] - begin;
    const auto others = static_cast<int32_t>(short_begin[row + 1] - short_begin[row] - 1);
    for (int32_t first = 0; first < n_angles; first += group_lanes) {
      group.each_lane([&](int lane) {
        const int32_t angle = first + lane;
        if (angle >= n_angles) return;
        const int32_t one = angle / others, two = angle % others;
        angles[2 * (begin + angle)] = edges[one];
        angles[2 * (begin + angle) + 1] = edges[two + (two >= one)];
      });
    }
  });
}

}  // namespace distmlip::kernels
