// Numbers for the bonds of a partition: an edge and its reverse are one bond.
#pragma once

#include <cstdint>

namespace distmlip::kernels {

/// Edges of the rows of one partition, by receiver.
struct BondRows {
  int64_t n_rows;
  const int64_t* row_begin;    // (n_rows + 1)
  const int64_t* senders;      // (n_edges) local rows; those from n_rows on have no edges here
  const int32_t* candidate;    // (n_edges)
  const uint16_t* shift_code;  // of each candidate
  int64_t n_codes;             // the code of the opposite shift is n_codes − 1 − code
};

/// How many bonds the edges of a partition are; see BondRows.
int64_t count_bonds(int64_t n_rows, const int64_t* row_begin, const int64_t* senders);

/// Numbers bonds by the first of their edges: edge_bond (n_edges) is the bond of each edge, bond_edge
/// (n_bonds) the first edge of each bond. An edge whose sender is not among the rows is a bond of its own.
/// hints: (n_rows) scratch, all zero before.
void number_bonds(const BondRows& rows, int32_t* hints, int64_t* edge_bond, int64_t* bond_edge);

/// Writes all ordered pairs of different edges of the same row, row after row.
/// row_begin: (n_rows + 1) of `edges`; angles: (n_angles, 2).
void expand_angles(int64_t n_rows, const int64_t* row_begin, const int32_t* edges, int64_t* angles);

}  // namespace distmlip::kernels
