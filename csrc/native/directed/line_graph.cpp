#include "native/directed/line_graph.h"

#include "native/indices.h"

namespace distmlip::native::directed {
namespace {

/// The two edges of every bond, or one and -1.
std::vector<std::array<int32_t, 2>> edges_of_bonds(const Indices& bond_of, int64_t n_bonds) {
  std::vector<std::array<int32_t, 2>> both(static_cast<size_t>(n_bonds), {-1, -1});
  for (int64_t e = 0; e < bond_of.n; ++e) {
    auto& [first, second] = both[static_cast<size_t>(bond_of.at(e, n_bonds))];
    if (second >= 0) invalid("a bond of three edges");
    (first < 0 ? first : second) = static_cast<int32_t>(e);
  }
  return both;
}

}  // namespace

LineGraph::LineGraph(const executor::NativeGraph& graph, const EdgeTopology& topology) {
  if (!graph.bonds) invalid("the graph has no bonds");
  const Indices bond_of = indices_of(graph.bonds->edge_bond, "edge_bond"),
                edge_of = indices_of(graph.bonds->bond_edge, "bond_edge"),
                cut = indices_of(graph.bonds->cut, "cut"), pairs = indices_of(graph.bonds->angles, "angles");
  const int64_t n_edges = topology.n_edges, n_bonds = edge_of.n;
  if (bond_of.n != n_edges || pairs.n % 2 != 0) invalid("a graph whose parts do not fit together");
  const auto both = edges_of_bonds(bond_of, n_bonds);
  std::vector<bool> is_node(both.size(), false);
  for (int64_t a = 0; a < pairs.n; a += 2)
    is_node[static_cast<size_t>(bond_of.at(pairs.at(a, n_edges), n_bonds))] = true;
  std::vector<int32_t> cut_row(both.size(), -1);
  for (int64_t k = 0; k < cut.n; ++k) {
    const int64_t row = cut.at(k, n_bonds);
    const auto bond = static_cast<size_t>(row);
    is_node[bond] = true;
    cut_row[bond] = static_cast<int32_t>(k);
    cut_edges.push_back(static_cast<int32_t>(edge_of.at(row, n_edges)));
  }
  std::vector<int32_t> node_at(static_cast<size_t>(n_edges), -1);
  for (size_t e = 0; e < node_at.size(); ++e) {
    const auto bond = static_cast<size_t>(bond_of.data[e]);
    if (!is_node[bond]) continue;
    node_at[e] = static_cast<int32_t>(edges.size());
    edges.push_back(static_cast<int32_t>(e));
    reverses.push_back(both[bond][1] < 0 ? -1 : both[bond][0] + both[bond][1] - static_cast<int32_t>(e));
  }
  node_of_edge.assign(node_at.size(), -1);
  for (size_t node = 0; node < edges.size(); ++node) {
    const auto edge = static_cast<size_t>(edges[node]);
    const int32_t reverse = reverses[node], row = cut_row[static_cast<size_t>(bond_of.data[edge])];
    if (reverse < 0 && row < 0) invalid("edge ", edge, " has no reverse, and is not cut");
    node_of_edge[edge] =
        reverse >= 0 ? node_at[static_cast<size_t>(reverse)] : static_cast<int32_t>(n_nodes()) + row;
  }
  for (const int32_t edge : cut_edges) cut_nodes.push_back(node_at[static_cast<size_t>(edge)]);
  list_angles(pairs, node_at, topology);
}

void LineGraph::list_angles(const Indices& pairs, const std::vector<int32_t>& node_at,
                            const EdgeTopology& topology) {
  first_angle.assign(static_cast<size_t>(topology.n_owned) + 1, 0);
  for (int64_t a = 0; a < pairs.n; a += 2) {
    const auto first = static_cast<size_t>(pairs.at(a, topology.n_edges)),
               second = static_cast<size_t>(pairs.at(a + 1, topology.n_edges));
    const auto centre = static_cast<int32_t>(topology.receivers[first]);
    if (topology.receivers[second] != centre || node_at[first] < 0 || node_at[second] < 0)
      invalid("an angle of edges ", first, " and ", second);
    if (!angles.empty() && angles.back().centre > centre) invalid("angles that are not sorted by centres");
    angles.push_back({node_of_edge[first],
                      node_at[second],
                      centre,
                      {static_cast<int32_t>(first), static_cast<int32_t>(second)}});
    ++first_angle[static_cast<size_t>(centre) + 1];
  }
  for (size_t atom = 0; atom + 1 < first_angle.size(); ++atom) first_angle[atom + 1] += first_angle[atom];
}

}  // namespace distmlip::native::directed
