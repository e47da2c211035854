// What algorithms for devices hand to each other at every step; edge_filter.h, bond_numbering.h and
// edge_forces.h describe the rest.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/bond_numbering.h"
#include "kernels/device/array.h"
#include "kernels/edge_filter.h"

namespace distmlip::kernels {

/// The candidates of a partition at the present positions (edge_filter.h).
struct FilterRequest {
  CandidateRows rows;
  int64_t n_rows, n_candidates;
  const LocalAtom* atoms;  // (n_local)
  ShiftTable table;
  double limit, bond_limit;  // Å^2, of edges and of short ones; no bonds: 0
};

/// Which candidates are edges. Arrays of short edges are empty without bonds.
struct StepEdges {
  Array<uint32_t> masks, short_masks;
  Array<int64_t> row_begin, short_begin;  // (n_rows + 1) edges and short edges of each row
  int64_t n_edges = 0, n_short = 0;
};

/// Where the edges of a partition go, row after row.
template <class Real>
struct EdgeOutput {
  int64_t* senders;    // (n_edges) local rows
  int64_t* receivers;  // (n_edges) local rows, ascending
  Real* vectors;       // (n_edges, 3) Å: cast from float64
  int32_t* edge_of;    // (n_candidates) the edge of each candidate, -1 for those that are none
  // Null without bonds:
  int32_t* candidate;   // (n_edges) the candidate that each edge was
  int32_t* short_edge;  // (n_short) edges below the bond limit, ascending
};

/// What bonds and angles are made of.
struct BondRequest {
  BondRows rows;
  int64_t n_edges, n_short;
  const int64_t* short_begin;  // (n_rows + 1)
  const int32_t* short_edge;   // (n_short)
  const int32_t* edge_of;      // (n_candidates)
  // Candidates that may be short bonds across a border, by partner.
  int64_t n_cut;
  const int32_t* row_candidate;  // (n_cut, 2) row and candidate
  int64_t n_bounds;
  const int32_t* bound;  // (n_bounds) where each partner's begin, and the end
};

/// Where they go.
struct BondOutput {
  int64_t* edge_bond;    // (n_edges) the bond of each edge
  int64_t* bond_edge;    // (n_edges) the first edge of each bond, ascending; of which n_bonds are filled
  int64_t* short_bond;   // (n_short) the bonds below the bond limit, ascending; of which n_short_bonds
  int64_t* cut;          // (n_cut) the short bonds among the cut candidates, in their order
  int64_t* angle_begin;  // (n_rows + 1) where the angles of each row begin
};

/// On the host.
struct BondSizes {
  int64_t n_bonds = 0, n_short_bonds = 0, n_angles = 0;
  std::vector<int64_t> cut_before;  // (n_bounds) how many cut bonds there are before each bound
};

/// Candidates by sender: those of local row r are candidate[row_begin[r]] … in ascending order.
struct SenderRows {
  Array<int64_t> row_begin;  // (n_local + 1)
  Array<int32_t> candidate;  // (n_candidates)
};

/// The edges that each local row sends.
struct SentEdges {
  int64_t n_local;
  const int64_t* row_begin;  // of SenderRows
  const int32_t* candidate;
  const int32_t* edge_of;  // (n_candidates) -1 for a candidate that is no edge
  const int32_t* sum_of;   // (n_local) the row of EdgeForces that gets each local row's sums, all different
};

}  // namespace distmlip::kernels
