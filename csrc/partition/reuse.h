// What is done at every step while the candidates of a decomposition stay valid.
#pragma once

#include <cstdint>
#include <vector>

#include "core/buffer.h"
#include "core/cell.h"
#include "kernels/edge_geometry.h"

namespace distmlip::partition {

struct Decomposition;

/// wrapped = position − wrap · cell: one fixed formula, so that all partitions see the same numbers.
/// positions, wrapped: (n_atoms, 3).
void wrap_positions(const Decomposition& decomposition, const double* positions, double* wrapped);

/// Whether update() gives the exact graph of these positions: same cell and number of atoms, and no atom
/// further than skin/2 from where it was (without a skin: all where they were).
bool still_valid(const Decomposition& decomposition, const double* positions, int64_t n_atoms,
                 const Cell& cell);

/// The graph of one partition at the current positions. Buffers are kept from step to step; every vector
/// has exactly the size given here.
struct StepGraph {
  int64_t n_edges = 0, n_bonds = 0, n_angles = 0;
  std::vector<int64_t> senders, receivers;  // (n_edges) local rows, receivers ascending
  std::vector<double> vectors;              // (n_edges, 3) sender − receiver, Å; shorter than the cutoff
  std::vector<int32_t> edge_candidate;      // (n_edges) the candidate that each edge was

  // With a bond cutoff. A bond is undirected; bonds are numbered by the first of their edges.
  std::vector<int64_t> edge_bond;    // (n_edges) an edge and its reverse have the same bond
  std::vector<int64_t> bond_edge;    // (n_bonds) the first edge of each bond
  std::vector<int64_t> short_edges;  // edges shorter than the bond cutoff, ascending
  std::vector<int64_t> angles;       // (n_angles, 2) ordered pairs of short edges of the same receiver
  std::vector<int64_t> cut_begin;    // (P + 1) groups of cut_rows, by partner partition
  std::vector<int64_t> cut_rows;     // short bonds with a copy in the partner; k-th here is k-th there

  Buffer<double> positions;        // scratch: (n_local, 3)
  Buffer<int32_t> candidate_edge;  // scratch: (n_candidates) edge of each candidate, -1 if too long
};

/// Filters the candidates of one partition: edges shorter than the cutoff, bonds, angles.
/// wrapped_positions: (n_atoms, 3) from wrap_positions().
void update(const Decomposition& decomposition, int partition, const double* wrapped_positions,
            StepGraph& out);

}  // namespace distmlip::partition
