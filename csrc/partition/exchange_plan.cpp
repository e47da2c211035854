#include "partition/exchange_plan.h"

#include <algorithm>
#include <tuple>

#include "kernels/edge_filter.h"
#include "partition/decomposition.h"

namespace distmlip::partition {
namespace {

/// A bond across a border as both of its owners see it: its atoms in the order of their owners, and the
/// shift of the second one.
struct CutBond {
  int32_t partner, first, second, shift_code;
  LocalGraph::CutCandidate candidate;
  auto key() const { return std::tie(partner, first, second, shift_code); }
};

kernels::LocalAtom atom_at(const Snapshot& snapshot, int32_t atom) {
  kernels::LocalAtom row;
  kernels::gather_atoms(1, &atom, snapshot.positions(), snapshot.decomposition().wrap_index.data(), &row);
  return row;
}

std::vector<CutBond> cut_bonds(const Snapshot& reference, int32_t partition, const LocalGraph& graph) {
  const Decomposition& decomposition = reference.decomposition();
  const kernels::ShiftTable shifts = reference.shifts();
  // A little more than necessary: what is too long is filtered at every step.
  const double reach = (decomposition.bond_cutoff + decomposition.skin) * (1 + 1e-6);
  const auto last_code = static_cast<int32_t>(decomposition.n_codes() - 1);
  std::vector<CutBond> bonds;
  for (int32_t row = 0; row < graph.n_owned(); ++row) {
    const int32_t receiver = graph.owned[row];
    const kernels::LocalAtom receiver_atom = atom_at(reference, receiver);
    for (int64_t edge = graph.row_begin[row]; edge < graph.row_begin[row + 1]; ++edge) {
      if (graph.sender[edge] < graph.n_owned()) continue;
      const int32_t sender = graph.global(graph.sender[edge]), code = graph.shift_code[edge];
      double vector[3];
      kernels::edge_vector(shifts, receiver_atom, atom_at(reference, sender), code, vector);
      if (kernels::squared_length(vector[0], vector[1], vector[2]) > reach * reach) continue;
      const int32_t partner = decomposition.owner[sender];
      const LocalGraph::CutCandidate candidate{row, static_cast<int32_t>(edge)};
      if (partition < partner) {
        bonds.push_back({partner, receiver, sender, code, candidate});
      } else {
        bonds.push_back({partner, sender, receiver, last_code - code, candidate});
      }
    }
  }
  return bonds;
}

}  // namespace

void plan_sends(int64_t n_atoms, std::vector<LocalGraph>& parts) {
  std::vector<int32_t> owned_row(n_atoms);
  for (const LocalGraph& part : parts) {
    for (int64_t row = 0; row < part.n_owned(); ++row) owned_row[part.owned[row]] = static_cast<int32_t>(row);
  }
  for (size_t reader = 0; reader < parts.size(); ++reader) {
    const LocalGraph& part = parts[reader];
    const RowGroups& groups = part.halo_groups;
    for (int64_t group = 0; group < groups.n_groups(); ++group) {
      LocalGraph& owner = parts[groups.partner[group]];
      const int32_t begin = groups.begin[group], end = groups.begin[group + 1];
      owner.send_groups.append(static_cast<int32_t>(reader), end - begin);
      for (int32_t k = begin; k < end; ++k) owner.send.push_back(owned_row[part.halo[k]]);
    }
  }
}

void plan_bonds(const Snapshot& reference, int32_t partition, LocalGraph& graph) {
  std::vector<CutBond> bonds = cut_bonds(reference, partition, graph);
  std::sort(bonds.begin(), bonds.end(), [](const auto& a, const auto& b) { return a.key() < b.key(); });
  graph.cut_candidate.reserve(bonds.size());
  for (const CutBond& bond : bonds) {
    graph.cut_candidate.push_back(bond.candidate);
    graph.cut_groups.append(bond.partner, 1);
  }
}

}  // namespace distmlip::partition
