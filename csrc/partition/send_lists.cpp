#include "partition/send_lists.h"

#include <algorithm>
#include <array>
#include <tuple>

#include "partition/decomposition.h"

namespace distmlip::partition {
namespace {

/// A bond across a border, ordered as both of its owners see it: by the atom whose owner comes first, the
/// other atom, and the cells between them where they are.
struct CutBond {
  int32_t partner;
  int64_t first, second;  // the same in every process
  std::array<int32_t, 3> shift;
  LocalCandidates::CutCandidate candidate;

  bool operator<(const CutBond& other) const {
    return std::tie(partner, first, second, shift) <
           std::tie(other.partner, other.first, other.second, other.shift);
  }
};

}  // namespace

void fill_send_lists(int64_t n_atoms, PartitionRange here, std::vector<LocalCandidates>& parts) {
  std::vector<int32_t> owned_row(n_atoms);
  for (const LocalCandidates& part : parts)
    for (int64_t row = 0; row < part.n_owned(); ++row) owned_row[part.owned[row]] = static_cast<int32_t>(row);
  for (size_t reader = 0; reader < parts.size(); ++reader) {
    const LocalCandidates& part = parts[reader];
    part.halo_groups.for_each([&](int32_t owner, int32_t k) {
      if (!here.has(owner)) return;
      parts[owner].send_groups.append(static_cast<int32_t>(reader), 1);
      parts[owner].send.push_back(owned_row[part.halo[k]]);
    });
  }
}

double reach_of_bonds(const Decomposition& decomposition) {
  return (decomposition.bond_cutoff + decomposition.skin) * (1 + 1e-6);
}

std::vector<kernels::BorderCandidate> border_candidates(const Snapshot& reference,
                                                        const LocalCandidates& graph) {
  const Decomposition& decomposition = reference.decomposition();
  const kernels::ShiftTable shifts = reference.shifts();
  Buffer<kernels::LocalAtom> atoms(graph.n_local());
  kernels::gather_atoms(graph.n_local(), graph.atoms().data(), reference.positions(),
                        decomposition.wrap_index.data(), atoms.data());
  const double reach = reach_of_bonds(decomposition);
  const auto n_owned = static_cast<int32_t>(graph.n_owned());
  std::vector<kernels::BorderCandidate> found;
  for (int32_t row = 0; row < n_owned; ++row) {
    for (int64_t edge = graph.row_begin[row]; edge < graph.row_begin[row + 1]; ++edge) {
      const int32_t sender = graph.sender[edge], code = graph.shift_code[edge];
      if (sender < n_owned) continue;
      double vector[3];
      kernels::edge_vector(shifts, atoms[row], atoms[sender], code, vector);
      if (kernels::squared_length(vector[0], vector[1], vector[2]) <= reach * reach)
        found.push_back({row, static_cast<int32_t>(edge), sender, code});
    }
  }
  return found;
}

void fill_cut_candidates(const Decomposition& decomposition, int32_t partition,
                         const std::vector<kernels::BorderCandidate>& candidates, LocalCandidates& graph) {
  const auto tag = [&](int32_t atom) -> int64_t {
    return decomposition.shared ? decomposition.shared->tags[atom] : atom;
  };
  const auto wrap = [&](int32_t atom) {
    return decomposition.wraps.data() + int64_t{3} * decomposition.wrap_index[atom];
  };
  std::vector<CutBond> bonds;
  for (const auto& [row, candidate, sender_row, code] : candidates) {
    const int32_t receiver = graph.owned[row], sender = graph.global(sender_row);
    const int32_t partner = decomposition.owner[sender];
    const int32_t* coded = decomposition.shifts.data() + int64_t{3} * code;
    const bool is_first = partition < partner;
    std::array<int32_t, 3> shift;
    for (size_t k = 0; k < 3; ++k) {
      const int32_t to_sender = coded[k] - wrap(sender)[k] + wrap(receiver)[k];
      shift[k] = is_first ? to_sender : -to_sender;
    }
    const int32_t first = is_first ? receiver : sender, second = is_first ? sender : receiver;
    bonds.push_back({partner, tag(first), tag(second), shift, {row, candidate}});
  }
  std::sort(bonds.begin(), bonds.end());
  graph.cut_candidate.reserve(bonds.size());
  for (const CutBond& bond : bonds) {
    graph.cut_candidate.push_back(bond.candidate);
    graph.cut_groups.append(bond.partner, 1);
  }
}

}  // namespace distmlip::partition
