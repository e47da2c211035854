#include "partition/step_graph.h"

#include <algorithm>
#include <limits>

#include "core/error.h"
#include "core/thread_pool.h"
#include "kernels/bond_numbering.h"
#include "partition/decomposition.h"

namespace distmlip::partition {
namespace {

/// Fewer rows are not worth a thread of their own.
constexpr int64_t rows_per_share = 1000;

int64_t share_count(int64_t n_rows, int n_threads) {
  return std::clamp<int64_t>(n_rows / rows_per_share, 1, std::max(1, n_threads));
}

/// work(share, first, last) for shares of [0, n_rows).
template <class Work>
void in_shares(int64_t n_rows, int n_threads, Work work) {
  const int64_t n_shares = share_count(n_rows, n_threads);
  parallel_for(n_shares, n_threads, [&](int64_t share, int) {
    work(share, n_rows * share / n_shares, n_rows * (share + 1) / n_shares);
  });
}

kernels::CandidateRows candidates_of(const LocalGraph& local) {
  return {local.row_begin.data(), local.sender.data(), local.shift_code.data()};
}

void gather(const Snapshot& snapshot, const LocalGraph& local, int n_threads, StepGraph& graph) {
  graph.atoms.resize(local.n_local());
  const auto gather_list = [&](const std::vector<int32_t>& atoms, kernels::LocalAtom* rows) {
    in_shares(static_cast<int64_t>(atoms.size()), n_threads, [&](int64_t, int64_t first, int64_t last) {
      kernels::gather_atoms(last - first, atoms.data() + first, snapshot.positions(),
                            snapshot.decomposition().wrap_index.data(), rows + first);
    });
  };
  gather_list(local.owned, graph.atoms.data());
  gather_list(local.halo, graph.atoms.data() + local.n_owned());
}

/// The edges of rows [first, last).
void find_rows(const Snapshot& snapshot, const LocalGraph& local, const kernels::LocalAtom* atoms,
               int64_t first, int64_t last, EdgeLists& lists) {
  const Decomposition& decomposition = snapshot.decomposition();
  const auto prepare = [&](Buffer<int64_t>& begin, Buffer<int32_t>& list) {
    begin.resize(last - first + 1);
    begin[0] = 0;
    // The last one that is looked at is written, too, even if it is dropped.
    list.resize(local.row_begin[last] - local.row_begin[first] + 1);
  };
  prepare(lists.row_begin, lists.candidate);
  kernels::FoundEdges found{lists.row_begin.data() + 1, lists.candidate.data(), nullptr, nullptr};
  if (decomposition.has_bonds()) {
    prepare(lists.short_begin, lists.short_edge);
    found.short_end = lists.short_begin.data() + 1;
    found.short_edge = lists.short_edge.data();
  }
  kernels::find_edges(candidates_of(local), first, last, atoms, snapshot.shifts(),
                      kernels::squared_limit(decomposition.cutoff),
                      kernels::squared_limit(decomposition.bond_cutoff), found);
}

/// Puts one share's list behind those of the shares before it; `offset` is added to its elements.
void put(const Buffer<int64_t>& begin, const Buffer<int32_t>& list, int64_t first_row, int64_t first,
         int32_t offset, Buffer<int64_t>& all_begin, Buffer<int32_t>& all) {
  for (size_t row = 0; row < begin.size(); ++row) all_begin[first_row + row] = first + begin[row];
  for (int64_t k = 0; k < begin.back(); ++k) all[first + k] = list[k] + offset;
}

void join(const std::vector<EdgeLists>& shares, int64_t n_rows, bool has_bonds, int n_threads,
          EdgeLists& all) {
  std::vector<int64_t> rows{0}, edges{0}, shorts{0};
  for (const EdgeLists& share : shares) {
    rows.push_back(rows.back() + static_cast<int64_t>(share.row_begin.size()) - 1);
    edges.push_back(edges.back() + share.row_begin.back());
    shorts.push_back(shorts.back() + (has_bonds ? share.short_begin.back() : 0));
  }
  all.row_begin.resize(n_rows + 1);
  all.candidate.resize(edges.back());
  if (has_bonds) {
    all.short_begin.resize(n_rows + 1);
    all.short_edge.resize(shorts.back());
  }
  parallel_for(static_cast<int64_t>(shares.size()), n_threads, [&](int64_t k, int) {
    const EdgeLists& share = shares[k];
    put(share.row_begin, share.candidate, rows[k], edges[k], 0, all.row_begin, all.candidate);
    if (!has_bonds) return;
    put(share.short_begin, share.short_edge, rows[k], shorts[k], static_cast<int32_t>(edges[k]),
        all.short_begin, all.short_edge);
  });
}

void count_angles(StepGraph& graph) {
  graph.n_angles = 0;
  const auto& begin = graph.edges.short_begin;
  for (size_t row = 0; row + 1 < begin.size(); ++row) {
    const int64_t count = begin[row + 1] - begin[row];
    graph.n_angles += count * (count - 1);
  }
  constexpr int64_t most_angles = std::numeric_limits<int32_t>::max();
  if (graph.n_angles > most_angles) {
    invalid("a partition has ", graph.n_angles, " angles; at most ", most_angles,
            " are supported: use more partitions or a smaller bond cutoff");
  }
}

/// The short edge of `row` that was this candidate; -1 if it is too long now.
int32_t short_edge_of(const EdgeLists& edges, int32_t row, int32_t candidate) {
  for (int64_t k = edges.short_begin[row]; k < edges.short_begin[row + 1]; ++k) {
    if (edges.candidate[edges.short_edge[k]] == candidate) return edges.short_edge[k];
  }
  return -1;
}

void find_cut_edges(const LocalGraph& local, StepGraph& graph) {
  graph.cut_edge.clear();
  graph.cut_groups = {};
  const RowGroups& groups = local.cut_groups;
  for (int64_t group = 0; group < groups.n_groups(); ++group) {
    for (int32_t k = groups.begin[group]; k < groups.begin[group + 1]; ++k) {
      const auto [row, candidate] = local.cut_candidate[k];
      const int32_t edge = short_edge_of(graph.edges, row, candidate);
      if (edge < 0) continue;
      graph.cut_edge.push_back(edge);
      graph.cut_groups.append(groups.partner[group], 1);
    }
  }
}

}  // namespace

Snapshot::Snapshot(const Decomposition& decomposition, const double* positions, const Cell& cell)
    : decomposition_(decomposition), positions_(positions), cell_(cell) {
  for (int64_t code = 0; code < decomposition.n_codes(); ++code) {
    const Vec3 vector = shift_vector(cell, decomposition.shifts.data() + 3 * code);
    shift_vectors_.insert(shift_vectors_.end(), vector.begin(), vector.end());
  }
}

kernels::ShiftTable Snapshot::shifts() const {
  return {cell_.vectors.data(), decomposition_.shifts.data(), shift_vectors_.data(),
          decomposition_.wraps.data()};
}

void find_edges(const Snapshot& snapshot, int32_t partition, int n_threads, StepGraph& graph) {
  const Decomposition& decomposition = snapshot.decomposition();
  const LocalGraph& local = decomposition.parts[partition];
  gather(snapshot, local, n_threads, graph);
  const int64_t n_shares = share_count(local.n_owned(), n_threads);
  if (n_shares == 1) {
    find_rows(snapshot, local, graph.atoms.data(), 0, local.n_owned(), graph.edges);
  } else {
    std::vector<EdgeLists> shares(n_shares);
    in_shares(local.n_owned(), n_threads, [&](int64_t share, int64_t first, int64_t last) {
      find_rows(snapshot, local, graph.atoms.data(), first, last, shares[share]);
    });
    join(shares, local.n_owned(), decomposition.has_bonds(), n_threads, graph.edges);
  }
  graph.n_edges = graph.edges.n_edges();
  if (!decomposition.has_bonds()) return;
  graph.n_bonds = kernels::count_bonds(candidates_of(local), local.n_owned(), graph.edges.row_begin.data(),
                                       graph.edges.candidate.data());
  count_angles(graph);
  find_cut_edges(local, graph);
}

template <class Real>
void write_edges(const Snapshot& snapshot, int32_t partition, int n_threads, const StepGraph& graph,
                 const kernels::EdgeArrays<Real>& out) {
  const LocalGraph& local = snapshot.decomposition().parts[partition];
  in_shares(local.n_owned(), n_threads, [&](int64_t, int64_t first, int64_t last) {
    kernels::write_edges(candidates_of(local), first, last, graph.atoms.data(), snapshot.shifts(),
                         graph.edges.row_begin.data(), graph.edges.candidate.data(), out);
  });
}

template void write_edges(const Snapshot&, int32_t, int, const StepGraph&, const kernels::EdgeArrays<float>&);
template void write_edges(const Snapshot&, int32_t, int, const StepGraph&,
                          const kernels::EdgeArrays<double>&);

void write_bonds(const Decomposition& decomposition, int32_t partition, const StepGraph& graph,
                 const int64_t* senders, const BondArrays& out) {
  const LocalGraph& local = decomposition.parts[partition];
  const EdgeLists& edges = graph.edges;
  std::vector<int32_t> hints(local.n_owned(), 0);
  kernels::number_bonds({local.n_owned(), edges.row_begin.data(), senders, edges.candidate.data(),
                         local.shift_code.data(), decomposition.n_codes()},
                        hints.data(), out.edge_bond, out.bond_edge);
  kernels::expand_angles(local.n_owned(), edges.short_begin.data(), edges.short_edge.data(), out.angles);
}

}  // namespace distmlip::partition
