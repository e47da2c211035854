// The edges of a partition at the present positions: which candidates are within the cutoff, and their
// vectors.
#pragma once

#include <cstdint>

#include "kernels/edge_geometry.h"

namespace distmlip::kernels {

/// A local row as the inner loops read it.
struct alignas(32) LocalAtom {
  double position[3];  // Å, as given
  int64_t wrap;        // which row of ShiftTable::wraps
};

/// How the shift code of a candidate becomes a vector. Codes number shifts between wrapped atoms; the shift
/// between atoms where they are is code's shift − wrap of the sender + wrap of the receiver.
struct ShiftTable {
  const double* cell;     // (3, 3) Å, rows are the present cell vectors
  const int32_t* shifts;  // (n_codes, 3)
  const double* vectors;  // (n_codes, 3) shift · cell
  const int32_t* wraps;   // (n_wraps, 3) the different numbers of cells by which atoms were wrapped
};

/// Candidates by receiver: those of local row r are [row_begin[r], row_begin[r + 1]).
struct CandidateRows {
  const int64_t* row_begin;
  const int32_t* sender;  // local row
  const uint16_t* shift_code;
};

/// vector (3): (x_sender − x_receiver) + shift · cell with the shift between the atoms where they are. It
/// does not depend on how the atoms were wrapped: the product is the same whether it was tabulated or not.
DISTMLIP_HOST_DEVICE inline void edge_vector(const ShiftTable& table, const LocalAtom& receiver,
                                             const LocalAtom& sender, int64_t shift_code, double* vector) {
  double shift_vector[3];
  const double* tabulated = table.vectors + 3 * shift_code;
  for (int k = 0; k < 3; ++k) shift_vector[k] = tabulated[k];
  if (sender.wrap != receiver.wrap) {
    double shift[3];
    for (int k = 0; k < 3; ++k) {
      shift[k] = table.shifts[3 * shift_code + k] - table.wraps[3 * sender.wrap + k] +
                 table.wraps[3 * receiver.wrap + k];
    }
    for (int k = 0; k < 3; ++k) {
      shift_vector[k] =
          (shift[0] * table.cell[k] + shift[1] * table.cell[3 + k]) + shift[2] * table.cell[6 + k];
    }
  }
  for (int k = 0; k < 3; ++k) {
    vector[k] = edge_component(sender.position[k], receiver.position[k], shift_vector[k]);
  }
}

/// rows[k] = atom atoms[k]. positions: (n_atoms, 3); wrap: (n_atoms).
void gather_atoms(int64_t n_rows, const int32_t* atoms, const double* positions, const int32_t* wrap,
                  LocalAtom* rows);

/// What find_edges() writes, with room for all candidates of the rows. Edges are numbered from 0 for the
/// first that is found.
struct FoundEdges {
  int64_t* row_end;    // (n_rows): where the edges of each row end
  int32_t* candidate;  // the candidate of each edge
  // With a bond cutoff, else null:
  int64_t* short_end;   // (n_rows): where the short edges of each row end
  int32_t* short_edge;  // the edges below the bond cutoff
};

/// The candidates of rows [first, last) whose squared length is below `limit`, and which of them are below
/// `bond_limit`. Returns how many edges there are.
int64_t find_edges(const CandidateRows& rows, int64_t first, int64_t last, const LocalAtom* atoms,
                   const ShiftTable& table, double limit, double bond_limit, const FoundEdges& found);

/// Where all edges of a partition go.
template <class Real>
struct EdgeArrays {
  int64_t* senders;    // (n_edges) local rows
  int64_t* receivers;  // (n_edges) local rows, ascending
  Real* vectors;       // (n_edges, 3) Å: cast from float64
};

/// Writes the edges of rows [first, last). Edges [row_begin[r], row_begin[r + 1]) are those of row r;
/// candidate: (n_edges) the candidate of each.
template <class Real>
void write_edges(const CandidateRows& rows, int64_t first, int64_t last, const LocalAtom* atoms,
                 const ShiftTable& table, const int64_t* row_begin, const int32_t* candidate,
                 const EdgeArrays<Real>& out);

}  // namespace distmlip::kernels
