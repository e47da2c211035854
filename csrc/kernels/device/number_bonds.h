// Bonds and angles of a partition: what bond_numbering.h describes, on a device.
#pragma once

#include "kernels/bond_numbering.h"
#include "kernels/device/parallel.h"
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

/// Numbers bonds by the first of their edges. edge_bond: (n_edges). Returns bond_edge, (n_bonds).
template <class Backend>
Array<int64_t> number_bonds(const Backend& backend, const BondRows& rows, int64_t* edge_bond) {
  using Group = typename Backend::Group;
  const auto count_array = backend.template array<int32_t>(rows.n_rows);
  const auto begin_array = backend.template array<int64_t>(rows.n_rows + 1);
  int32_t* count = count_array.data();
  int64_t* begin = begin_array.data();
  backend.for_each_group(rows.n_rows, [=] DISTMLIP_DEVICE(const Group& group, int64_t row) {
    const int64_t end = rows.row_begin[row + 1];
    int32_t n_first = 0;
    for (int64_t edge = rows.row_begin[row]; edge < end; edge += group_lanes) {
      n_first += count_bits(
          group.ballot([&](int lane) { return edge + lane < end && is_first(rows, row, edge + lane); }));
    }
    group.once([&] { count[row] = n_first; });
  });
  const auto result = backend.template array<int64_t>(backend.scan(count, rows.n_rows, begin));
  int64_t* bond_edge = result.data();
  backend.for_each_group(rows.n_rows, [=] DISTMLIP_DEVICE(const Group& group, int64_t row) {
    const int64_t end = rows.row_begin[row + 1];
    int64_t next = begin[row];
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
  return result;
}

/// Where the angles of each row begin: all ordered pairs of its short edges. Returns how many there are.
template <class Backend>
int64_t count_angles(const Backend& backend, int64_t n_rows, const int64_t* short_begin,
                     int64_t* angle_begin) {
  const auto count_array = backend.template array<int32_t>(n_rows);
  int32_t* count = count_array.data();
  backend.for_each(n_rows, [=] DISTMLIP_DEVICE(int64_t row) {
    const int64_t n = short_begin[row + 1] - short_begin[row];
    count[row] = static_cast<int32_t>(n * (n - 1));
  });
  return backend.scan(count, n_rows, angle_begin);
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

/// The edge in `row` that was this candidate, if it is short; else -1.
DISTMLIP_DEVICE inline int32_t short_edge_of(const int64_t* short_begin, const int32_t* short_edge,
                                             const int32_t* candidates, int32_t row, int32_t candidate) {
  for (int64_t k = short_begin[row]; k < short_begin[row + 1]; ++k)
    if (candidates[short_edge[k]] == candidate) return short_edge[k];
  return -1;
}

/// The short edges among the cut candidates (row, candidate), in their order. begin: (n + 1), how many are
/// found before each candidate.
template <class Backend>
Array<int64_t> find_cut_edges(const Backend& backend, const CutRequest& request, int64_t* begin) {
  const CutRequest cut = request;
  const auto found_array = backend.template array<int32_t>(cut.n);
  const auto is_found_array = backend.template array<int32_t>(cut.n);
  int32_t *found = found_array.data(), *is_found = is_found_array.data();
  backend.for_each(cut.n, [=] DISTMLIP_DEVICE(int64_t k) {
    found[k] = short_edge_of(cut.short_begin, cut.short_edge, cut.candidate_of_edge, cut.row_candidate[2 * k],
                             cut.row_candidate[2 * k + 1]);
    is_found[k] = found[k] >= 0;
  });
  const auto result = backend.template array<int64_t>(backend.scan(is_found, cut.n, begin));
  int64_t* edges = result.data();
  backend.for_each(cut.n, [=] DISTMLIP_DEVICE(int64_t k) {
    if (is_found[k]) edges[begin[k]] = found[k];
  });
  return result;
}

}  // namespace distmlip::kernels
