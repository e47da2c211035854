#include "native/gated/topology.h"

#include <limits>

#include "native/indices.h"

namespace distmlip::native::gated {
namespace {

/// A row for every bond: short ones first.
std::vector<int32_t> rows_of_bonds(const Indices& short_ones, int64_t n_bonds) {
  std::vector<int32_t> row_of(static_cast<size_t>(n_bonds), -1);
  int32_t n = 0;
  for (int64_t k = 0; k < short_ones.n; ++k) {
    int32_t& row = row_of[static_cast<size_t>(short_ones.at(k, n_bonds))];
    if (row >= 0) invalid("bond ", short_ones.data[k], " is a short one twice");
    row = n++;
  }
  for (int32_t& row : row_of)
    if (row < 0) row = n++;
  return row_of;
}

/// first_row of Topology. `rows`: of each edge's bond.
std::vector<int32_t> first_rows(const std::vector<int32_t>& rows, int64_t n_bonds) {
  std::vector<int32_t> first(static_cast<size_t>(n_bonds) + 1, 0);
  for (const int32_t row : rows) ++first[static_cast<size_t>(row) + 1];
  for (size_t b = 0; b < static_cast<size_t>(n_bonds); ++b) {
    if (first[b + 1] < 1 || first[b + 1] > 2) invalid("a bond of ", first[b + 1], " edges");
    first[b + 1] += first[b];
  }
  return first;
}

}  // namespace

Topology::Topology(const executor::NativeGraph& graph) {
  if (!graph.bonds) invalid("the graph has no bonds");
  const executor::NativeBonds& bonds = *graph.bonds;
  const Indices senders_of = indices_of(graph.senders, "senders"),
                receivers_of = indices_of(graph.receivers, "receivers"),
                bond_of = indices_of(bonds.edge_bond, "edge_bond"),
                edge_of = indices_of(bonds.bond_edge, "bond_edge"),
                short_ones = indices_of(bonds.short_bonds, "short_bonds");
  n_owned = graph.n_owned;
  n_local = indices_of(graph.numbers, "numbers").n;
  if (n_owned < 0 || n_owned > n_local) invalid("n_owned is ", n_owned, " of ", n_local, " atoms");
  n_edges = senders_of.n;
  if (n_edges > std::numeric_limits<int32_t>::max() / 2) invalid(n_edges, " edges in one partition");
  if (receivers_of.n != n_edges || bond_of.n != n_edges) invalid("a graph whose parts do not fit together");
  n_bonds = static_cast<int32_t>(edge_of.n);
  n_short = static_cast<int32_t>(short_ones.n);
  has_angles = bonds.n_angles_total > 0;

  const std::vector<int32_t> row_of = rows_of_bonds(short_ones, n_bonds);
  std::vector<int32_t> row_of_edge;
  for (int64_t e = 0; e < n_edges; ++e)
    row_of_edge.push_back(row_of[static_cast<size_t>(bond_of.at(e, n_bonds))]);
  edge_of_bond.resize(static_cast<size_t>(n_bonds));
  for (int64_t b = 0; b < n_bonds; ++b)
    edge_of_bond[static_cast<size_t>(row_of[static_cast<size_t>(b)])] =
        static_cast<int32_t>(edge_of.at(b, n_edges));
  first_row = first_rows(row_of_edge, n_bonds);
  for (int64_t b = 0; b < n_bonds; ++b)
    if (bond_of.data[edge_of.data[b]] != b) invalid("edge ", edge_of.data[b], " is no edge of bond ", b);
  receivers.resize(static_cast<size_t>(n_edges));
  senders.resize(static_cast<size_t>(n_edges));
  std::vector<int32_t> next(first_row.begin(), first_row.end() - 1);
  for (int64_t e = 0; e < n_edges; ++e) {
    const auto row = static_cast<size_t>(next[static_cast<size_t>(row_of_edge[static_cast<size_t>(e)])]++);
    receivers[row] = static_cast<int32_t>(receivers_of.at(e, n_owned));
    senders[row] = static_cast<int32_t>(senders_of.at(e, n_local));
  }
  list_pairs(bonds.angles, receivers_of.data, row_of_edge);
  list_cut(bonds.cut, row_of);
}

void Topology::list_pairs(const at::Tensor& angles_given, const int64_t* receiver_of,
                          const std::vector<int32_t>& row_of_edge) {
  const Indices angles = indices_of(angles_given, "angles");
  if (angles.n % 2 != 0) invalid("a graph whose parts do not fit together");
  pairs.reserve(static_cast<size_t>(angles.n) / 4);
  for (int64_t a = 0; a < angles.n; a += 2) {
    const int64_t e = angles.at(a, n_edges), f = angles.at(a + 1, n_edges);
    if (e >= f) continue;  // the other order
    const int32_t first = row_of_edge[static_cast<size_t>(e)], second = row_of_edge[static_cast<size_t>(f)];
    if (receiver_of[e] != receiver_of[f] || first >= n_short || second >= n_short)
      invalid("an angle of edges ", e, " and ", f);
    pairs.push_back({static_cast<int32_t>(receiver_of[e]),
                     {static_cast<int32_t>(e), static_cast<int32_t>(f)},
                     {first, second}});
  }
}

void Topology::list_cut(const at::Tensor& cut_given, const std::vector<int32_t>& row_of) {
  const Indices cut_ones = indices_of(cut_given, "cut");
  for (int64_t k = 0; k < cut_ones.n; ++k) {
    const int32_t row = row_of[static_cast<size_t>(cut_ones.at(k, n_bonds))];
    if (row >= n_short) invalid("cut bond ", k, " is not a short one");
    cut.push_back(row);
  }
}

}  // namespace distmlip::native::gated
