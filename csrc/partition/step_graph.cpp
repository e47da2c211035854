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

kernels::CandidateRows candidates_of(const LocalCandidates& local) {
  return {local.row_begin.data(), local.sender.data(), local.shift_code.data()};
}

void gather(const Snapshot& snapshot, const LocalCandidates& local, int n_threads, StepGraph& graph) {
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

/// Filters the candidates of one partition. Threads write where the candidates of their rows begin; what is
/// left of them is then moved together.
template <class Real>
class Filter {
 public:
  Filter(const Snapshot& snapshot, const LocalCandidates& local, const EdgeArrays<Real>& out,
         StepGraph& graph)
      : snapshot_(snapshot), local_(local), out_(out), graph_(graph) {}

  void run(int n_threads, bool with_candidates) {
    const bool has_bonds = snapshot_.decomposition().has_bonds();
    const int64_t n_owned = local_.n_owned(), room = edge_room(local_, n_threads);
    graph_.row_begin.resize(n_owned + 1);
    graph_.row_begin[0] = 0;
    graph_.candidate.resize(with_candidates || has_bonds ? room : 0);
    if (has_bonds) {
      graph_.short_begin.resize(n_owned + 1);
      graph_.short_begin[0] = 0;
      graph_.short_edge.resize(room);
    }
    in_shares(n_owned, n_threads,
              [&](int64_t share, int64_t first, int64_t last) { filter(share, first, last); });
    const int64_t n_shares = share_count(n_owned, n_threads);
    for (int64_t share = 1; share < n_shares; ++share)
      close_gap(share, n_owned * share / n_shares, n_owned * (share + 1) / n_shares);
  }

 private:
  /// Where a share's edges are written.
  int64_t place(int64_t share, int64_t first_row) const {
    return local_.row_begin[first_row] + share * kernels::edge_slack;
  }

  void filter(int64_t share, int64_t first, int64_t last) {
    const Decomposition& decomposition = snapshot_.decomposition();
    const int64_t at = place(share, first);
    kernels::EdgeArrays<Real> out{graph_.row_begin.data() + first + 1,
                                  out_.senders + at,
                                  out_.receivers + at,
                                  out_.vectors + 3 * at,
                                  graph_.candidate.empty() ? nullptr : graph_.candidate.data() + at,
                                  nullptr,
                                  nullptr};
    if (decomposition.has_bonds()) {
      out.short_end = graph_.short_begin.data() + first + 1;
      out.short_edge = graph_.short_edge.data() + at;
    }
    kernels::filter_edges(candidates_of(local_), first, last, graph_.atoms.data(), snapshot_.shifts(),
                          kernels::squared_limit(decomposition.cutoff),
                          kernels::squared_limit(decomposition.bond_cutoff), out);
  }

  /// Moves a share's lists behind those of the shares before it, and counts from the first edge of all.
  void close_gap(int64_t share, int64_t first, int64_t last) {
    const int64_t from = place(share, first), to = graph_.row_begin[first];
    const int64_t n_edges = graph_.row_begin[last];
    const auto move = [](auto* array, int64_t source, int64_t target, int64_t count) {
      std::copy(array + source, array + source + count, array + target);
    };
    move(out_.senders, from, to, n_edges);
    move(out_.receivers, from, to, n_edges);
    move(out_.vectors, 3 * from, 3 * to, 3 * n_edges);
    if (!graph_.candidate.empty()) move(graph_.candidate.data(), from, to, n_edges);
    for (int64_t row = first + 1; row <= last; ++row) graph_.row_begin[row] += to;
    if (!snapshot_.decomposition().has_bonds()) return;
    const int64_t short_to = graph_.short_begin[first], n_short = graph_.short_begin[last];
    int32_t* short_edge = graph_.short_edge.data();
    for (int64_t k = 0; k < n_short; ++k)
      short_edge[short_to + k] = short_edge[from + k] + static_cast<int32_t>(to);
    for (int64_t row = first + 1; row <= last; ++row) graph_.short_begin[row] += short_to;
  }

  const Snapshot& snapshot_;
  const LocalCandidates& local_;
  EdgeArrays<Real> out_;
  StepGraph& graph_;
};

void count_angles(StepGraph& graph) {
  graph.n_angles = 0;
  const auto& begin = graph.short_begin;
  for (size_t row = 0; row + 1 < begin.size(); ++row) {
    const int64_t count = begin[row + 1] - begin[row];
    graph.n_angles += count * (count - 1);
  }
  check_angles(graph.n_angles);
}

/// The short edge of `row` that was this candidate; -1 if it is too long now.
int32_t short_edge_of(const StepGraph& graph, int32_t row, int32_t candidate) {
  for (int64_t k = graph.short_begin[row]; k < graph.short_begin[row + 1]; ++k)
    if (graph.candidate[graph.short_edge[k]] == candidate) return graph.short_edge[k];
  return -1;
}

void find_cut_edges(const LocalCandidates& local, StepGraph& graph) {
  graph.cut_edge.clear();
  graph.cut_groups = {};
  local.cut_groups.for_each([&](int32_t partner, int32_t k) {
    const auto [row, candidate] = local.cut_candidate[k];
    const int32_t edge = short_edge_of(graph, row, candidate);
    if (edge < 0) return;
    graph.cut_edge.push_back(edge);
    graph.cut_groups.append(partner, 1);
  });
}

}  // namespace

void check_angles(int64_t n_angles) {
  constexpr int64_t most_angles = std::numeric_limits<int32_t>::max();
  if (n_angles > most_angles) {
    invalid("a partition has ", n_angles, " angles; at most ", most_angles,
            " are supported: use more partitions or a smaller bond cutoff");
  }
}

Snapshot::Snapshot(const Decomposition& decomposition, const double* positions, const Cell& cell)
    : decomposition_(decomposition), positions_(positions), cell_(cell) {
  for (int64_t code = 0; code < decomposition.n_codes(); ++code) {
    const Vec3 vector = shift_vector(cell, decomposition.shifts.data() + 3 * code);
    shift_vectors_.insert(shift_vectors_.end(), {vector[0], vector[1], vector[2], 0.0});
  }
}

kernels::ShiftTable Snapshot::shifts() const {
  return {cell_.vectors.data(), decomposition_.shifts.data(), shift_vectors_.data(),
          decomposition_.wraps.data()};
}

int64_t edge_room(const LocalCandidates& local, int n_threads) {
  return std::ssize(local.sender) + share_count(local.n_owned(), n_threads) * kernels::edge_slack;
}

template <class Real>
void write_edges(const Snapshot& snapshot, int32_t partition, int n_threads, bool with_candidates,
                 const EdgeArrays<Real>& out, StepGraph& graph) {
  const Decomposition& decomposition = snapshot.decomposition();
  const LocalCandidates& local = decomposition.parts[partition];
  gather(snapshot, local, n_threads, graph);
  Filter<Real>(snapshot, local, out, graph).run(n_threads, with_candidates);
  graph.n_edges = graph.row_begin.back();
  if (!decomposition.has_bonds()) return;
  graph.n_bonds = kernels::count_bonds(local.n_owned(), graph.row_begin.data(), out.senders);
  count_angles(graph);
  find_cut_edges(local, graph);
}

template void write_edges(const Snapshot&, int32_t, int, bool, const EdgeArrays<float>&, StepGraph&);
template void write_edges(const Snapshot&, int32_t, int, bool, const EdgeArrays<double>&, StepGraph&);

void write_shifts(const Decomposition& decomposition, int32_t partition, const StepGraph& graph,
                  const int64_t* receivers, int64_t* shifts) {
  const LocalCandidates& local = decomposition.parts[partition];
  const auto wrap = [&](int64_t row) {
    return decomposition.wraps.data() + 3 * decomposition.wrap_index[local.global(row)];
  };
  for (int64_t edge = 0; edge < graph.n_edges; ++edge) {
    const int32_t candidate = graph.candidate[edge];
    const int32_t* coded =
        decomposition.shifts.data() + 3 * static_cast<int64_t>(local.shift_code[candidate]);
    const int32_t *sender = wrap(local.sender[candidate]), *receiver = wrap(receivers[edge]);
    for (int k = 0; k < 3; ++k) shifts[3 * edge + k] = coded[k] - sender[k] + receiver[k];
  }
}

void write_bonds(const Decomposition& decomposition, int32_t partition, const StepGraph& graph,
                 const int64_t* senders, const BondArrays& out) {
  const LocalCandidates& local = decomposition.parts[partition];
  std::vector<int32_t> hints(local.n_owned(), 0);
  kernels::number_bonds({local.n_owned(), graph.row_begin.data(), senders, graph.candidate.data(),
                         local.shift_code.data(), decomposition.n_codes()},
                        hints.data(), out.edge_bond, out.bond_edge);
  kernels::expand_angles(local.n_owned(), graph.short_begin.data(), graph.short_edge.data(), out.angles);
}

}  // namespace distmlip::partition
