// The edges of a partition at the present positions: which candidates are within the cutoff, and their
// vectors.
#pragma once

#include <cstdint>

#include "kernels/edge_geometry.h"

namespace distmlip::kernels {

/// A local row as the inner loops read it.
struct alignas(32) LocalAtom {
  double position[3];  // Å, as given
  int64_t wrap;        // wrap_bits() of the row of ShiftTable::wraps
};

/// The number of a wrap, such that its bits are those of an ordinary float64 near 1: loops load positions and
/// wrap as four float64, and small whole numbers would be denormal ones.
DISTMLIP_HOST_DEVICE inline int64_t wrap_bits(int64_t wrap) { return wrap | 0x3ff0000000000000; }
DISTMLIP_HOST_DEVICE inline int64_t wrap_row(int64_t bits) { return bits & 0x000fffffffffffff; }

/// How the shift code of a candidate becomes a vector. Codes number shifts between wrapped atoms; the shift
/// between atoms where they are is code's shift − wrap of the sender + wrap of the receiver.
struct ShiftTable {
  const double* cell;     // (3, 3) Å, rows are the present cell vectors
  const int32_t* shifts;  // (n_codes, 3)
  const double* vectors;  // (n_codes, 4) shift · cell, and a zero
  const int32_t* wraps;   // (n_wraps, 3) the different numbers of cells by which atoms were wrapped
};

/// Candidates by receiver: those of local row r are [row_begin[r], row_begin[r + 1]).
struct CandidateRows {
  const int64_t* row_begin;
  const int32_t* sender;  // local row
  const uint16_t* shift_code;
};

/// A candidate whose sender is no row of the partition and that can become a short bond.
struct BorderCandidate {
  int32_t row, candidate;
  int32_t sender, shift_code;  // of the candidate
};

/// vector (3): (x_sender − x_receiver) + shift · cell with the shift between the atoms where they are. It
/// does not depend on how the atoms were wrapped: the product is the same whether it was tabulated or not.
DISTMLIP_HOST_DEVICE inline void edge_vector(const ShiftTable& table, const LocalAtom& receiver,
                                             const LocalAtom& sender, int64_t shift_code, double* vector) {
  double shift_vector[3];
  const double* tabulated = table.vectors + 4 * shift_code;
  for (int k = 0; k < 3; ++k) shift_vector[k] = tabulated[k];
  if (sender.wrap != receiver.wrap) {
    double shift[3];
    for (int k = 0; k < 3; ++k) {
      shift[k] = table.shifts[3 * shift_code + k] - table.wraps[3 * wrap_row(sender.wrap) + k] +
                 table.wraps[3 * wrap_row(receiver.wrap) + k];
    }
    for (int k = 0; k < 3; ++k) {
      shift_vector[k] =
          (shift[0] * table.cell[k] + shift[1] * table.cell[3 + k]) + shift[2] * table.cell[6 + k];
    }
  }
  for (int k = 0; k < 3; ++k)
    vector[k] = edge_component(sender.position[k], receiver.position[k], shift_vector[k]);
}

/// rows[k] = atom atoms[k]. positions: (n_atoms, 3); wrap: (n_atoms).
void gather_atoms(int64_t n_rows, const int32_t* atoms, const double* positions, const int32_t* wrap,
                  LocalAtom* rows);

/// Where edges go, row after row. Every array needs room for all candidates of the rows and edge_slack more,
/// because what is dropped is written, too.
template <class Real>
struct EdgeArrays {
  int64_t* row_end;    // (n_rows): where the edges of each row end; no slack needed
  int64_t* senders;    // (n_edges) local rows
  int64_t* receivers;  // (n_edges) local rows, ascending
  Real* vectors;       // (n_edges, 3) Å: cast from float64
  int32_t* candidate;  // (n_edges) the candidate that each edge was; null if not wanted
  // The edges below the bond cutoff; null if not wanted:
  int64_t* short_end;   // (n_rows): where the short edges of each row end; no slack needed
  int32_t* short_edge;  // (n_short) counted from the first edge of the first row
};
constexpr int64_t edge_slack = 4;

/// Writes the candidates of rows [first, last) whose squared length is below `limit`, and which of them are
/// below `bond_limit`. Returns how many edges there are.
template <class Real>
int64_t filter_edges(const CandidateRows& rows, int64_t first, int64_t last, const LocalAtom* atoms,
                     const ShiftTable& table, double limit, double bond_limit, const EdgeArrays<Real>& out);

}  // namespace distmlip::kernels
