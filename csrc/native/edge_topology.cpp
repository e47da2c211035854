#include "native/edge_topology.h"

#include <limits>

#include "native/indices.h"

namespace distmlip::native {

EdgeTopology::EdgeTopology(const executor::NativeGraph& graph)
    : n_owned(graph.n_owned), n_local(graph.numbers.numel()), n_edges(graph.senders.numel()) {
  if (n_owned < 0 || n_owned > n_local) invalid("n_owned is ", n_owned, " of ", n_local, " atoms");
  if (n_edges > std::numeric_limits<int32_t>::max() / 2) invalid(n_edges, " edges in one partition");
  senders = indices_of(graph.senders, n_edges, n_local, "senders");
  receivers = indices_of(graph.receivers, n_edges, n_owned, "receivers");
  numbers = indices_of(graph.numbers, n_local, std::numeric_limits<int64_t>::max(), "numbers");
  first_edge.assign(static_cast<size_t>(n_owned) + 1, 0);
  for (int64_t e = 0; e < n_edges; ++e) {
    if (e > 0 && receivers[e] < receivers[e - 1]) invalid("receivers that do not ascend");
    ++first_edge[static_cast<size_t>(receivers[e]) + 1];
  }
  for (size_t atom = 0; atom < static_cast<size_t>(n_owned); ++atom) first_edge[atom + 1] += first_edge[atom];
}

}  // namespace distmlip::native
