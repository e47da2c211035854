// The graph of one partition at one step: what is left of its candidates at the present positions.
#pragma once

#include <cstdint>
#include <vector>

#include "core/buffer.h"
#include "core/cell.h"
#include "kernels/edge_filter.h"
#include "partition/row_groups.h"

namespace distmlip::partition {

struct Decomposition;
struct LocalGraph;

/// Where the atoms are now; the decomposition must still be valid there. One for all partitions.
class Snapshot {
 public:
  /// positions: (n_atoms, 3) Å; must outlive the snapshot, as must the decomposition.
  Snapshot(const Decomposition& decomposition, const double* positions, const Cell& cell);

  const Decomposition& decomposition() const { return decomposition_; }
  const double* positions() const { return positions_; }
  kernels::ShiftTable shifts() const;

 private:
  const Decomposition& decomposition_;
  const double* positions_;
  Cell cell_;
  std::vector<double> shift_vectors_;  // (n_codes, 3)
};

/// Edges by receiver, and with a bond cutoff the short ones among them. Arrays of edges may be longer than
/// there are edges.
struct EdgeLists {
  Buffer<int64_t> row_begin;    // (n_rows + 1) edges of each row
  Buffer<int32_t> candidate;    // (n_edges) the candidate that each edge was
  Buffer<int64_t> short_begin;  // (n_rows + 1) short edges of each row
  Buffer<int32_t> short_edge;   // (n_short)

  int64_t n_edges() const { return row_begin.empty() ? 0 : row_begin.back(); }
};

/// Sizes, and what the arrays of the graph are written from. Buffers are kept from step to step.
struct StepGraph {
  int64_t n_edges = 0, n_bonds = 0, n_angles = 0;
  EdgeLists edges;
  Buffer<kernels::LocalAtom> atoms;  // (n_local)
  std::vector<int32_t> cut_edge;     // short edges with a copy in another partition, by partner:
  RowGroups cut_groups;              // the k-th of a group here is the reverse of the k-th there
};

/// Finds the edges of a partition and, with a bond cutoff, the short and the cut ones among them, and counts
/// bonds and angles; on up to n_threads threads.
/// Throws std::invalid_argument if there are too many angles to be numbered.
void find_edges(const Snapshot& snapshot, int32_t partition, int n_threads, StepGraph& graph);

/// Writes the edges that were found; arrays are (n_edges) or (n_edges, 3).
template <class Real>
void write_edges(const Snapshot& snapshot, int32_t partition, int n_threads, const StepGraph& graph,
                 const kernels::EdgeArrays<Real>& out);

/// Where bonds and angles go. A bond is undirected: an edge and its reverse have the same one.
struct BondArrays {
  int64_t* edge_bond;  // (n_edges) the bond of each edge
  int64_t* bond_edge;  // (n_bonds) the first edge of each bond; ascending
  int64_t* angles;     // (n_angles, 2) ordered pairs of different short edges of the same receiver
};

/// Numbers bonds and expands angles. senders: (n_edges) as write_edges() wrote them.
void write_bonds(const Decomposition& decomposition, int32_t partition, const StepGraph& graph,
                 const int64_t* senders, const BondArrays& out);

}  // namespace distmlip::partition
