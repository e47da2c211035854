#include "native/directed/triples.h"

#include <limits>

#include "native/indices.h"

namespace distmlip::native::directed {
namespace {

const int64_t* indices(const at::Tensor& tensor, int64_t n, int64_t limit, const char* name) {
  const Indices all = indices_of(tensor, name);
  if (all.n != n) invalid(name, " has ", all.n, " numbers; there must be ", n);
  for (int64_t k = 0; k < n; ++k) all.at(k, limit);
  return all.data;
}

}  // namespace

EdgeTopology::EdgeTopology(const executor::NativeGraph& graph)
    : n_owned(graph.n_owned), n_local(graph.numbers.numel()), n_edges(graph.senders.numel()) {
  if (n_owned < 0 || n_owned > n_local) invalid("n_owned is ", n_owned, " of ", n_local, " atoms");
  if (n_edges > std::numeric_limits<int32_t>::max() / 2) invalid(n_edges, " edges in one partition");
  senders = indices(graph.senders, n_edges, n_local, "senders");
  receivers = indices(graph.receivers, n_edges, n_owned, "receivers");
  numbers = indices(graph.numbers, n_local, std::numeric_limits<int64_t>::max(), "numbers");
  first_edge.assign(static_cast<size_t>(n_owned) + 1, 0);
  for (int64_t e = 0; e < n_edges; ++e) {
    if (e > 0 && receivers[e] < receivers[e - 1]) invalid("receivers that do not ascend");
    ++first_edge[static_cast<size_t>(receivers[e]) + 1];
  }
  for (size_t atom = 0; atom < static_cast<size_t>(n_owned); ++atom) first_edge[atom + 1] += first_edge[atom];
}

ShortEdges::ShortEdges(const executor::NativeGraph& graph, const EdgeTopology& topology) {
  if (!graph.bonds) invalid("the graph has no bonds");
  const at::Tensor& given = graph.bonds->angles;
  const int64_t* angles = indices(given, given.numel(), topology.n_edges, "angles");
  std::vector<bool> is_short(static_cast<size_t>(topology.n_edges), false);
  for (int64_t a = 0; a + 1 < given.numel(); a += 2) {
    if (topology.receivers[angles[a]] != topology.receivers[angles[a + 1]])
      invalid("an angle of edges ", angles[a], " and ", angles[a + 1], ", which have different receivers");
    is_short[static_cast<size_t>(angles[a])] = true;
    is_short[static_cast<size_t>(angles[a + 1])] = true;
  }
  first.push_back(0);
  for (int64_t atom = 0; atom < topology.n_owned; ++atom) {
    const auto [begin, end] = std::pair(topology.first_edge[static_cast<size_t>(atom)],
                                        topology.first_edge[static_cast<size_t>(atom) + 1]);
    for (int64_t e = begin; e < end; ++e)
      if (is_short[static_cast<size_t>(e)]) edges.push_back(static_cast<int32_t>(e));
    first.push_back(std::ssize(edges));
  }
}

}  // namespace distmlip::native::directed
