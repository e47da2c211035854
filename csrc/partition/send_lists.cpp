#include "partition/send_lists.h"

#include <algorithm>

#include "kernels/edge_filter.h"
#include "partition/decomposition.h"

namespace distmlip::partition {
namespace {

/// A bond across a border, ordered as both of its owners see it: by the atom whose owner comes first, the
/// other atom, and its shift.
struct CutBond {
  int32_t partner, first, second, shift_code;
  LocalCandidates::CutCandidate candidate;

  bool operator<(const CutBond& other) const {
    const auto high = [](const CutBond& bond) {
      return static_cast<int64_t>(bond.partner) << 32 | bond.first;
    };
    const auto low = [](const CutBond& bond) {
      return static_cast<int64_t>(bond.second) << 32 | bond.shift_code;
    };
    return high(*this) != high(other) ? high(*this) < high(other) : low(*this) < low(other);
  }
};

std::vector<CutBond> cut_bonds(const Snapshot& reference, int32_t partition, const LocalCandidates& graph) {
  const Decomposition& decomposition = reference.decomposition();
  const kernels::ShiftTable shifts = reference.shifts();
  Buffer<kernels::LocalAtom> atoms(graph.n_local());
  const auto gather = [&](const std::vector<int32_t>& list, int64_t first_row) {
    kernels::gather_atoms(static_cast<int64_t>(list.size()), list.data(), reference.positions(),
                          decomposition.wrap_index.data(), atoms.data() + first_row);
  };
  gather(graph.owned, 0);
  gather(graph.halo, graph.n_owned());
  // A little more than necessary: what is too long is filtered at every step.
  const double reach = (decomposition.bond_cutoff + decomposition.skin) * (1 + 1e-6);
  const auto n_owned = static_cast<int32_t>(graph.n_owned());
  const auto last_code = static_cast<int32_t>(decomposition.n_codes() - 1);
  std::vector<CutBond> bonds;
  for (int32_t row = 0; row < n_owned; ++row) {
    const int32_t receiver = graph.owned[row];
    for (int64_t edge = graph.row_begin[row]; edge < graph.row_begin[row + 1]; ++edge) {
      const int32_t sender_row = graph.sender[edge], code = graph.shift_code[edge];
      if (sender_row < n_owned) continue;
      double vector[3];
      kernels::edge_vector(shifts, atoms[row], atoms[sender_row], code, vector);
      if (kernels::squared_length(vector[0], vector[1], vector[2]) > reach * reach) continue;
      const int32_t sender = graph.halo[sender_row - n_owned], partner = decomposition.owner[sender];
      const LocalCandidates::CutCandidate candidate{row, static_cast<int32_t>(edge)};
      if (partition < partner)
        bonds.push_back({partner, receiver, sender, code, candidate});
      else
        bonds.push_back({partner, sender, receiver, last_code - code, candidate});
    }
  }
  return bonds;
}

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

void fill_cut_candidates(const Snapshot& reference, int32_t partition, LocalCandidates& graph) {
  std::vector<CutBond> bonds = cut_bonds(reference, partition, graph);
  std::sort(bonds.begin(), bonds.end());
  graph.cut_candidate.reserve(bonds.size());
  for (const CutBond& bond : bonds) {
    graph.cut_candidate.push_back(bond.candidate);
    graph.cut_groups.append(bond.partner, 1);
  }
}

}  // namespace distmlip::partition
