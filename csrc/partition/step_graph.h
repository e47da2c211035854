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
struct LocalCandidates;

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
  std::vector<double> shift_vectors_;  // (n_codes, 4)
};

/// Sizes, and what else is known of the edges. Buffers are kept from step to step.
struct StepGraph {
  int64_t n_edges = 0, n_bonds = 0, n_angles = 0;
  Buffer<int64_t> row_begin;         // (n_owned + 1) edges of each receiver
  Buffer<kernels::LocalAtom> atoms;  // (n_local)
  Buffer<int32_t> candidate;         // (n_edges or more) the candidate that each edge was, or nothing

  // With a bond cutoff:
  Buffer<int64_t> short_begin;    // (n_owned + 1) short edges of each receiver
  Buffer<int32_t> short_edge;     // (n_short or more) the edges shorter than the bond cutoff
  std::vector<int32_t> cut_edge;  // short edges with a copy in another partition, by partner:
  RowGroups cut_groups;           // the k-th of a group here is the reverse of the k-th there

  int64_t n_cut() const { return cut_groups.begin.back(); }
};

/// Where the edges of a partition go; room for edge_room() edges each.
template <class Real>
struct EdgeArrays {
  int64_t* senders;    // (n_edges) local rows
  int64_t* receivers;  // (n_edges) local rows, ascending
  Real* vectors;       // (n_edges, 3) sender − receiver, Å: cast from float64
};
int64_t edge_room(const LocalCandidates& local, int n_threads);

/// Writes the edges of a partition and, with a bond cutoff, finds the short and the cut ones among them, and
/// counts bonds and angles; on up to n_threads threads. `with_candidates`: whether StepGraph::candidate is
/// wanted; with a bond cutoff it always is.
/// Throws std::invalid_argument if there are too many angles to be numbered.
template <class Real>
void write_edges(const Snapshot& snapshot, int32_t partition, int n_threads, bool with_candidates,
                 const EdgeArrays<Real>& out, StepGraph& graph);

/// Writes the shift of each edge (n_edges, 3) between atoms where they are, not where they were wrapped to.
/// The graph must have been made with candidates; receivers: (n_edges) as write_edges() wrote them.
void write_shifts(const Decomposition& decomposition, int32_t partition, const StepGraph& graph,
                  const int64_t* receivers, int64_t* shifts);

/// Throws std::invalid_argument if there are too many angles to be numbered.
void check_angles(int64_t n_angles);

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
