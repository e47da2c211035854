// What algorithms for devices hand to each other at every step; edge_filter.h, bond_numbering.h and
// edge_forces.h describe the rest.
#pragma once

#include <cstdint>

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
  int64_t* senders;     // (n_edges) local rows
  int64_t* receivers;   // (n_edges) local rows, ascending
  Real* vectors;        // (n_edges, 3) Å: cast from float64
  int32_t* candidate;   // (n_edges) the candidate that each edge was
  int32_t* short_edge;  // (n_short) edges below the bond limit, ascending; null without bonds
};

/// Candidates that may be short bonds across a border, and the edges among which they are looked for.
struct CutRequest {
  int64_t n;
  const int32_t* row_candidate;  // (n, 2) row and candidate
  const int64_t* short_begin;
  const int32_t* short_edge;
  const int32_t* candidate_of_edge;
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
};

}  // namespace distmlip::kernels
