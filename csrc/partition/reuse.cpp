#include "partition/reuse.h"

#include <algorithm>
#include <limits>

#include "core/error.h"
#include "graph/bond_graph.h"
#include "graph/wrapping.h"
#include "partition/decomposition.h"

namespace distmlip::partition {
namespace {

void gather_positions(const LocalGraph& graph, const double* wrapped, Buffer<double>& positions) {
  positions.resize(3 * graph.n_local());
  for (int64_t row = 0; row < graph.n_local(); ++row) {
    const double* from = wrapped + 3 * static_cast<int64_t>(graph.global(row));
    for (int k = 0; k < 3; ++k) positions[3 * row + k] = from[k];
  }
}

/// Room for `most` edges without touching it, and elements for at least the first `needed`.
void make_room(StepGraph& out, int64_t needed, int64_t most) {
  constexpr int64_t at_once =
      1 << 14;  // small enough that what is filled here is still cached when it is used
  const int64_t size = std::min(needed + at_once, most);
  out.senders.reserve(most);
  out.receivers.reserve(most);
  out.edge_candidate.reserve(most);
  out.vectors.reserve(3 * most);
  out.senders.resize(size);
  out.receivers.resize(size);
  out.edge_candidate.resize(size);
  out.vectors.resize(3 * size);
}

void filter_edges(const Decomposition& decomposition, const LocalGraph& graph, StepGraph& out) {
  const double limit = kernels::squared_limit(decomposition.cutoff);
  const int64_t most = graph.n_candidates() + 1;  // the last write may be of a candidate that is dropped
  int64_t edge = 0;
  for (int64_t row = 0; row < graph.n_owned(); ++row) {
    const int64_t begin = graph.row_begin[row], end = graph.row_begin[row + 1];
    const int64_t needed = edge + (end - begin) + 1;
    if (needed > static_cast<int64_t>(out.senders.size())) make_room(out, needed, most);
    const double* receiver = out.positions.data() + 3 * row;
    for (int64_t candidate = begin; candidate < end; ++candidate) {
      const int32_t sender = graph.sender[candidate];
      const Vec3 vector = edge_vector(decomposition, out.positions.data() + 3 * static_cast<int64_t>(sender),
                                      receiver, graph.shift_code[candidate]);
      out.senders[edge] = sender;
      out.receivers[edge] = row;
      out.edge_candidate[edge] = static_cast<int32_t>(candidate);
      for (int k = 0; k < 3; ++k) out.vectors[3 * edge + k] = vector[k];
      edge += kernels::squared_length(vector[0], vector[1], vector[2]) < limit;
    }
  }
  out.n_edges = edge;
  out.senders.resize(edge);
  out.receivers.resize(edge);
  out.edge_candidate.resize(edge);
  out.vectors.resize(3 * edge);
}

void number_bonds(const LocalGraph& graph, StepGraph& out) {
  out.candidate_edge.assign(graph.n_candidates(), -1);
  for (int64_t edge = 0; edge < out.n_edges; ++edge) {
    out.candidate_edge[out.edge_candidate[edge]] = static_cast<int32_t>(edge);
  }
  out.edge_bond.resize(out.n_edges);
  out.bond_edge.resize(out.n_edges);
  out.n_bonds = 0;
  for (int64_t edge = 0; edge < out.n_edges; ++edge) {
    const int32_t opposite = graph.reverse[out.edge_candidate[edge]];
    const int32_t reverse = opposite < 0 ? -1 : out.candidate_edge[opposite];
    if (reverse >= 0 && reverse < edge) {
      out.edge_bond[edge] = out.edge_bond[reverse];
    } else {
      out.bond_edge[out.n_bonds] = edge;
      out.edge_bond[edge] = out.n_bonds++;
    }
  }
  out.bond_edge.resize(out.n_bonds);
}

/// Writes the short edges and all angles between them.
void find_angles(double bond_cutoff, StepGraph& out) {
  const double limit = kernels::squared_limit(bond_cutoff);
  out.short_edges.clear();
  std::vector<int64_t> centre_begin{0};  // where each centre atom's short edges start
  int64_t n_angles = 0;
  const auto close_centre = [&] {
    const auto count = static_cast<int64_t>(out.short_edges.size()) - centre_begin.back();
    n_angles += count * (count - 1);
    centre_begin.push_back(static_cast<int64_t>(out.short_edges.size()));
  };
  for (int64_t edge = 0; edge < out.n_edges; ++edge) {
    if (edge > 0 && out.receivers[edge] != out.receivers[edge - 1]) close_centre();
    const double* vector = out.vectors.data() + 3 * edge;
    if (kernels::squared_length(vector[0], vector[1], vector[2]) < limit) out.short_edges.push_back(edge);
  }
  close_centre();
  if (n_angles > std::numeric_limits<int32_t>::max()) {
    invalid("a partition has ", n_angles, " angles; at most ", std::numeric_limits<int32_t>::max(),
            " are supported: use more partitions or a smaller bond cutoff");
  }
  out.n_angles = n_angles;
  out.angles.resize(2 * n_angles);
  int64_t* next = out.angles.data();
  for (size_t centre = 0; centre + 1 < centre_begin.size(); ++centre) {
    const int64_t count = centre_begin[centre + 1] - centre_begin[centre];
    graph::append_angles(out.short_edges.data(), centre_begin[centre], centre_begin[centre + 1], next);
    next += 2 * count * (count - 1);
  }
}

void find_cut_bonds(const LocalGraph& graph, double bond_cutoff, StepGraph& out) {
  const double limit = kernels::squared_limit(bond_cutoff);
  out.cut_rows.clear();
  out.cut_begin.assign(1, 0);
  for (size_t partner = 0; partner + 1 < graph.cut_candidate_begin.size(); ++partner) {
    for (int32_t k = graph.cut_candidate_begin[partner]; k < graph.cut_candidate_begin[partner + 1]; ++k) {
      const int32_t edge = out.candidate_edge[graph.cut_candidate[k]];
      if (edge < 0) continue;
      const double* vector = out.vectors.data() + 3 * static_cast<int64_t>(edge);
      if (kernels::squared_length(vector[0], vector[1], vector[2]) < limit) {
        out.cut_rows.push_back(out.edge_bond[edge]);
      }
    }
    out.cut_begin.push_back(static_cast<int64_t>(out.cut_rows.size()));
  }
}

}  // namespace

void wrap_positions(const Decomposition& decomposition, const double* positions, double* wrapped) {
  graph::subtract_wrap(decomposition.cell, decomposition.wrap.data(), positions, decomposition.n_atoms,
                       wrapped);
}

bool still_valid(const Decomposition& decomposition, const double* positions, int64_t n_atoms,
                 const Cell& cell) {
  if (n_atoms != decomposition.n_atoms || !(cell == decomposition.cell)) return false;
  const double limit = decomposition.skin * decomposition.skin / 4;
  for (int64_t atom = 0; atom < n_atoms; ++atom) {
    const double* now = positions + 3 * atom;
    const double* before = decomposition.reference.data() + 3 * atom;
    const double moved = kernels::squared_length(now[0] - before[0], now[1] - before[1], now[2] - before[2]);
    if (!(moved <= limit)) return false;  // also if it is not a number
  }
  return true;
}

void update(const Decomposition& decomposition, int partition, const double* wrapped_positions,
            StepGraph& out) {
  if (partition < 0 || partition >= decomposition.n_partitions) {
    invalid("partition is ", partition, "; it must be between 0 and ", decomposition.n_partitions - 1);
  }
  const LocalGraph& graph = decomposition.parts[partition];
  gather_positions(graph, wrapped_positions, out.positions);
  filter_edges(decomposition, graph, out);
  if (!decomposition.has_bonds()) return;
  number_bonds(graph, out);
  find_angles(decomposition.bond_cutoff, out);
  find_cut_bonds(graph, decomposition.bond_cutoff, out);
}

}  // namespace distmlip::partition
