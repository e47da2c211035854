#include <algorithm>
#include <cstring>

#include "kernels/edge_filter.h"
#include "kernels/lanes.h"

namespace distmlip::kernels {
namespace {

/// Writes candidates one after another and keeps those that are short enough, without a branch on the
/// distance: it would be mispredicted for most.
template <class Real, bool with_candidates, bool with_bonds>
class Writer {
 public:
  Writer(const EdgeArrays<Real>& out, double limit, double bond_limit)
      : out_(out), limit_(limit), bond_limit_(bond_limit) {}

  void write(int64_t candidate, int32_t sender, const Lanes& vector, double squared) {
    out_.senders[n_edges_] = sender;
    const auto cast = __builtin_convertvector(vector, RealLanes<Real>);
    std::memcpy(out_.vectors + 3 * n_edges_, &cast, sizeof(cast));
    if constexpr (with_candidates) out_.candidate[n_edges_] = static_cast<int32_t>(candidate);
    if constexpr (with_bonds) {
      out_.short_edge[n_short_] = static_cast<int32_t>(n_edges_);
      n_short_ += squared < bond_limit_;
    }
    n_edges_ += squared < limit_;
  }

  void end_row(int64_t row, int64_t index) {
    std::fill(out_.receivers + n_before_, out_.receivers + n_edges_, row);
    n_before_ = n_edges_;
    out_.row_end[index] = n_edges_;
    if constexpr (with_bonds) out_.short_end[index] = n_short_;
  }

  int64_t n_edges() const { return n_edges_; }

 private:
  EdgeArrays<Real> out_;
  double limit_, bond_limit_;
  int64_t n_edges_ = 0, n_short_ = 0, n_before_ = 0;
};

/// Out of the way of the loop: few candidates cross a border of wrapping.
__attribute__((noinline, cold)) void untabulated(const ShiftTable& table, const LocalAtom& receiver,
                                                 const LocalAtom& sender, int64_t shift_code, Lanes& vector) {
  double v[4] = {};
  edge_vector(table, receiver, sender, shift_code, v);
  std::memcpy(&vector, v, sizeof(vector));
}

/// Four candidates at once.
template <class Writer>
DISTMLIP_CLONES int64_t filter(const CandidateRows& given_rows, int64_t first, int64_t last,
                               const LocalAtom* atoms, const ShiftTable& given_table, Writer writer) {
  const CandidateRows rows = given_rows;  // copies, which what is written cannot change
  const ShiftTable table = given_table;
  for (int64_t row = first; row < last; ++row) {
    Lanes centre;
    std::memcpy(&centre, atoms + row, sizeof(centre));
    const int64_t wrap = atoms[row].wrap;
    const int64_t end = rows.row_begin[row + 1];
    const auto write = [&](int64_t candidate, int64_t count) __attribute__((always_inline)) {
      Lanes v[4];
      for (int64_t k = 0; k < 4; ++k) {
        const int64_t at = candidate + std::min(k, count - 1);
        Lanes sender, shift_vector;
        std::memcpy(&sender, atoms + rows.sender[at], sizeof(sender));
        std::memcpy(&shift_vector, table.vectors + 4 * rows.shift_code[at], sizeof(shift_vector));
        v[k] = (sender - centre) + shift_vector;
        if (__builtin_expect(atoms[rows.sender[at]].wrap != wrap, 0)) {
          Lanes exact;
          untabulated(table, atoms[row], atoms[rows.sender[at]], rows.shift_code[at], exact);
          v[k] = exact;
        }
      }
      // Transposed: x, y and z of the four.
      const Lanes xz01 = __builtin_shufflevector(v[0], v[1], 0, 4, 2, 6);
      const Lanes y01 = __builtin_shufflevector(v[0], v[1], 1, 5, 3, 7);
      const Lanes xz23 = __builtin_shufflevector(v[2], v[3], 0, 4, 2, 6);
      const Lanes y23 = __builtin_shufflevector(v[2], v[3], 1, 5, 3, 7);
      const Lanes x = __builtin_shufflevector(xz01, xz23, 0, 1, 4, 5);
      const Lanes y = __builtin_shufflevector(y01, y23, 0, 1, 4, 5);
      const Lanes z = __builtin_shufflevector(xz01, xz23, 2, 3, 6, 7);
      const Lanes squared = (x * x + y * y) + z * z;
      for (int64_t k = 0; k < count; ++k)
        writer.write(candidate + k, rows.sender[candidate + k], v[k], squared[k]);
    };
    int64_t candidate = rows.row_begin[row];
    for (; candidate + 4 <= end; candidate += 4) write(candidate, 4);
    if (candidate < end) write(candidate, end - candidate);
    writer.end_row(row, row - first);
  }
  return writer.n_edges();
}

}  // namespace

void gather_atoms(int64_t n_rows, const int32_t* atoms, const double* positions, const int32_t* wrap,
                  LocalAtom* rows) {
  for (int64_t row = 0; row < n_rows; ++row) {
    const int64_t atom = atoms[row];
    rows[row] = {{positions[3 * atom], positions[3 * atom + 1], positions[3 * atom + 2]},
                 wrap_bits(wrap[atom])};
  }
}

template <class Real>
int64_t filter_edges(const CandidateRows& rows, int64_t first, int64_t last, const LocalAtom* atoms,
                     const ShiftTable& table, double limit, double bond_limit, const EdgeArrays<Real>& out) {
  const auto run = [&]<bool with_candidates, bool with_bonds>() {
    const Writer<Real, with_candidates, with_bonds> writer(out, limit, bond_limit);
    return filter(rows, first, last, atoms, table, writer);
  };
  if (out.short_edge) return run.template operator()<true, true>();
  return out.candidate ? run.template operator()<true, false>() : run.template operator()<false, false>();
}

template int64_t filter_edges(const CandidateRows&, int64_t, int64_t, const LocalAtom*, const ShiftTable&,
                              double, double, const EdgeArrays<float>&);
template int64_t filter_edges(const CandidateRows&, int64_t, int64_t, const LocalAtom*, const ShiftTable&,
                              double, double, const EdgeArrays<double>&);

}  // namespace distmlip::kernels
