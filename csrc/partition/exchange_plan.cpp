#include "partition/exchange_plan.h"

#include <algorithm>
#include <tuple>

#include "graph/bond_graph.h"
#include "kernels/edge_geometry.h"
#include "partition/decomposition.h"

namespace distmlip::partition {
namespace {

/// A bond across a border as both of its owners see it: its atoms in the order of their owners, and the
/// shift of the second one.
struct CutBond {
  int32_t partner, first, second, shift_code, candidate;
  auto key() const { return std::tie(partner, first, second, shift_code); }
};

}  // namespace

std::vector<std::vector<int32_t>> plan_sends(const std::vector<LocalGraph>& parts, int64_t n_atoms) {
  std::vector<int32_t> owned_row(n_atoms);
  for (const LocalGraph& part : parts) {
    for (int64_t row = 0; row < part.n_owned(); ++row) owned_row[part.owned[row]] = static_cast<int32_t>(row);
  }
  const size_t n_partitions = parts.size();
  std::vector<std::vector<int32_t>> send(n_partitions * n_partitions);
  for (size_t reader = 0; reader < n_partitions; ++reader) {
    const LocalGraph& part = parts[reader];
    for (size_t sender = 0; sender < n_partitions; ++sender) {
      auto& rows = send[sender * n_partitions + reader];
      rows.reserve(part.halo_begin[sender + 1] - part.halo_begin[sender]);
      for (int32_t k = part.halo_begin[sender]; k < part.halo_begin[sender + 1]; ++k) {
        rows.push_back(owned_row[part.halo[k]]);
      }
    }
  }
  return send;
}

void plan_bonds(const Decomposition& decomposition, const double* wrapped, int32_t partition,
                LocalGraph& graph) {
  graph.reverse = graph::find_reverse_edges({graph.n_owned(), graph.row_begin.data(), graph.sender.data(),
                                             graph.shift_code.data(), decomposition.n_codes()});
  // A little more than necessary: what is too long is filtered at every step.
  const double reach = (decomposition.bond_cutoff + decomposition.skin) * (1 + 1e-6);
  const int32_t last_code = static_cast<int32_t>(decomposition.n_codes() - 1);
  std::vector<CutBond> bonds;
  for (int64_t row = 0; row < graph.n_owned(); ++row) {
    const int32_t receiver = graph.owned[row];
    for (int64_t edge = graph.row_begin[row]; edge < graph.row_begin[row + 1]; ++edge) {
      if (graph.sender[edge] < graph.n_owned()) continue;
      const int32_t sender = graph.global(graph.sender[edge]);
      const int32_t code = graph.shift_code[edge];
      const Vec3 vector = edge_vector(decomposition, wrapped + 3 * static_cast<int64_t>(sender),
                                      wrapped + 3 * static_cast<int64_t>(receiver), code);
      if (kernels::squared_length(vector[0], vector[1], vector[2]) > reach * reach) continue;
      const int32_t partner = decomposition.owner[sender];
      const int32_t candidate = static_cast<int32_t>(edge);
      if (partition < partner) {
        bonds.push_back({partner, receiver, sender, code, candidate});
      } else {
        bonds.push_back({partner, sender, receiver, last_code - code, candidate});
      }
    }
  }
  std::sort(bonds.begin(), bonds.end(), [](const auto& a, const auto& b) { return a.key() < b.key(); });
  graph.cut_candidate_begin.assign(decomposition.parts.size() + 1, 0);
  for (const CutBond& bond : bonds) {
    graph.cut_candidate.push_back(bond.candidate);
    ++graph.cut_candidate_begin[bond.partner + 1];
  }
  for (size_t q = 0; q < decomposition.parts.size(); ++q) {
    graph.cut_candidate_begin[q + 1] += graph.cut_candidate_begin[q];
  }
}

}  // namespace distmlip::partition
