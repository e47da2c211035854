// Pairs of short edges with the same receiver.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "native/edge_topology.h"
#include "native/gated/row_sums.h"

namespace distmlip::native::directed {

/// Those of the atoms of a chunk (native/gated/row_sums.h).
inline std::pair<int64_t, int64_t> edges_of(const EdgeTopology& topology, int64_t chunk) {
  const auto edge_at = [&](int64_t atom) {
    return topology.first_edge[static_cast<size_t>(std::min(topology.n_owned, atom))];
  };
  return {edge_at(chunk * gated::atoms_per_chunk), edge_at((chunk + 1) * gated::atoms_per_chunk)};
}

/// The edges of each owned atom that angles are made of.
struct ShortEdges {
  /// Throws std::invalid_argument for a graph without bonds, or angles of edges with different receivers.
  ShortEdges(const executor::NativeGraph& graph, const EdgeTopology& topology);

  std::vector<int64_t> first;  ///< of each owned atom, in `edges`, and the end
  std::vector<int32_t> edges;  ///< ascending
};

}  // namespace distmlip::native::directed
