// The part of the directed line graph that a partition updates (distmlip/models/matgl/line_graph.py).
#pragma once

#include <array>

#include "native/directed/triples.h"
#include "native/indices.h"

namespace distmlip::native::directed {

struct LineGraph {
  /// Throws std::invalid_argument for a graph without bonds, or indices out of range.
  LineGraph(const executor::NativeGraph& graph, const EdgeTopology& topology);

  int64_t n_nodes() const { return std::ssize(edges); }
  int64_t n_rows() const { return n_nodes() + std::ssize(cut_edges); }  ///< with those of other partitions
  int64_t n_angles() const { return std::ssize(angles); }

  std::vector<int32_t> edges;         ///< ascending: each node is the reverse of this edge
  std::vector<int32_t> reverses;      ///< the edge that is the node itself; -1: in another partition
  std::vector<int32_t> node_of_edge;  ///< of each edge of the partition: the row that it is; -1: none
  std::vector<int32_t> cut_edges, cut_nodes;
  struct Angle {
    int32_t from, to;  ///< rows
    int32_t centre;
    std::array<int32_t, 2> edges;
  };
  std::vector<Angle> angles;         ///< by their centres
  std::vector<int64_t> first_angle;  ///< of each owned atom, and the end

 private:
  void list_angles(const Indices& pairs, const std::vector<int32_t>& node_at, const EdgeTopology& topology);
};

}  // namespace distmlip::native::directed
