#include "kernels/edge_filter.h"

namespace distmlip::kernels {
namespace {

template <bool with_bonds>
int64_t find(const CandidateRows& rows, int64_t first, int64_t last, const LocalAtom* atoms,
             const ShiftTable& given_table, double limit, double bond_limit, const FoundEdges& found) {
  const ShiftTable table = given_table;  // a copy, which what is written to `found` cannot change
  int64_t n_edges = 0, n_short = 0;
  for (int64_t row = first; row < last; ++row) {
    const LocalAtom receiver = atoms[row];
    const int64_t end = rows.row_begin[row + 1];
    for (int64_t candidate = rows.row_begin[row]; candidate < end; ++candidate) {
      double vector[3];
      edge_vector(table, receiver, atoms[rows.sender[candidate]], rows.shift_code[candidate], vector);
      const double squared = squared_length(vector[0], vector[1], vector[2]);
      // No branch on the distance: it would be mispredicted for most candidates.
      found.candidate[n_edges] = static_cast<int32_t>(candidate);
      if constexpr (with_bonds) {
        found.short_edge[n_short] = static_cast<int32_t>(n_edges);
        n_short += squared < bond_limit;
      }
      n_edges += squared < limit;
    }
    found.row_end[row - first] = n_edges;
    if constexpr (with_bonds) found.short_end[row - first] = n_short;
  }
  return n_edges;
}

}  // namespace

void gather_atoms(int64_t n_rows, const int32_t* atoms, const double* positions, const int32_t* wrap,
                  LocalAtom* rows) {
  for (int64_t row = 0; row < n_rows; ++row) {
    const int64_t atom = atoms[row];
    rows[row] = {{positions[3 * atom], positions[3 * atom + 1], positions[3 * atom + 2]}, wrap[atom]};
  }
}

int64_t find_edges(const CandidateRows& rows, int64_t first, int64_t last, const LocalAtom* atoms,
                   const ShiftTable& table, double limit, double bond_limit, const FoundEdges& found) {
  return found.short_edge ? find<true>(rows, first, last, atoms, table, limit, bond_limit, found)
                          : find<false>(rows, first, last, atoms, table, limit, bond_limit, found);
}

template <class Real>
void write_edges(const CandidateRows& rows, int64_t first, int64_t last, const LocalAtom* atoms,
                 const ShiftTable& given_table, const int64_t* row_begin, const int32_t* candidates,
                 const EdgeArrays<Real>& out) {
  const ShiftTable table = given_table;
  for (int64_t row = first; row < last; ++row) {
    const LocalAtom receiver = atoms[row];
    for (int64_t edge = row_begin[row]; edge < row_begin[row + 1]; ++edge) {
      const int32_t candidate = candidates[edge];
      const int32_t sender = rows.sender[candidate];
      double vector[3];
      edge_vector(table, receiver, atoms[sender], rows.shift_code[candidate], vector);
      out.senders[edge] = sender;
      out.receivers[edge] = row;
      for (int k = 0; k < 3; ++k) out.vectors[3 * edge + k] = static_cast<Real>(vector[k]);
    }
  }
}

template void write_edges(const CandidateRows&, int64_t, int64_t, const LocalAtom*, const ShiftTable&,
                          const int64_t*, const int32_t*, const EdgeArrays<float>&);
template void write_edges(const CandidateRows&, int64_t, int64_t, const LocalAtom*, const ShiftTable&,
                          const int64_t*, const int32_t*, const EdgeArrays<double>&);

}  // namespace distmlip::kernels
