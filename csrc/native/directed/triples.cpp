#include "native/directed/triples.h"

#include "native/indices.h"

namespace distmlip::native::directed {

ShortEdges::ShortEdges(const executor::NativeGraph& graph, const EdgeTopology& topology) {
  if (!graph.bonds) invalid("the graph has no bonds");
  const at::Tensor& given = graph.bonds->angles;
  const int64_t* angles = indices_of(given, given.numel(), topology.n_edges, "angles");
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
