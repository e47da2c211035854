#include "partition/local_graph.h"

#include <limits>
#include <numeric>
#include <span>

#include "core/error.h"
#include "graph/neighbor_search.h"

namespace distmlip::partition {
namespace {

constexpr int64_t most_candidates = std::numeric_limits<int32_t>::max();

/// Appends one receiver's edges after the first n_edges; returns how many there are then.
int64_t append_row(const graph::Bins& bins, std::span<const int32_t> hits, int32_t own_slot,
                   std::vector<int32_t>& local_row, LocalGraph& graph, int64_t n_edges) {
  // Plain pointers: the compiler cannot know that writing an edge does not move a vector's memory.
  const int32_t* atom_of = bins.atom.data();
  const uint16_t* code_of = bins.shift_code.data();
  int32_t* row_of = local_row.data();
  int32_t* senders = graph.sender.data();
  uint16_t* codes = graph.shift_code.data();
  for (const int32_t hit : hits) {
    const int32_t atom = atom_of[hit];
    if (row_of[atom] < 0) {
      row_of[atom] = static_cast<int32_t>(graph.n_local());
      graph.halo.push_back(atom);
    }
    senders[n_edges] = row_of[atom];
    codes[n_edges] = code_of[hit];
    n_edges += hit != own_slot;
  }
  return n_edges;
}

/// Appends the edges of every owned atom; halo rows are numbered in the order in which they are first seen.
void collect_edges(const graph::Bins& bins, std::vector<int32_t>& local_row, LocalGraph& graph) {
  graph::NeighborSearch near(bins);
  const int64_t n_owned = graph.n_owned();
  int64_t n_edges = 0;
  graph.row_begin.resize(n_owned + 1);
  for (int64_t row = 0; row < n_owned; ++row) {
    const int32_t own_slot = bins.slot[graph.owned[row]];
    const auto hits = near.around(graph.owned[row]);
    const int64_t needed = n_edges + static_cast<int64_t>(hits.size());
    if (needed > graph.n_candidates()) {
      // From the rows so far, and half as much again.
      const int64_t expected = needed + needed / (row + 1) * (n_owned - row) + needed / 8 + 64;
      graph.sender.resize(row == 0 ? needed + 64 : expected);
      graph.shift_code.resize(graph.sender.size());
    }
    n_edges = append_row(bins, hits, own_slot, local_row, graph, n_edges);
    if (n_edges > most_candidates) {
      invalid("a partition has more than ", most_candidates,
              " edges: use more partitions or a smaller cutoff or skin");
    }
    graph.row_begin[row + 1] = n_edges;
  }
  graph.sender.resize(n_edges);
  graph.shift_code.resize(n_edges);
}

/// Renumbers halo rows from first-seen order to groups by owner.
void group_halo(const std::vector<int32_t>& owner, int32_t n_partitions, LocalGraph& graph) {
  const int64_t n_owned = graph.n_owned();
  graph.halo_begin.assign(n_partitions + 1, 0);
  for (int32_t atom : graph.halo) ++graph.halo_begin[owner[atom] + 1];
  std::partial_sum(graph.halo_begin.begin(), graph.halo_begin.end(), graph.halo_begin.begin());
  std::vector<int32_t> next(graph.halo_begin.begin(), graph.halo_begin.end() - 1);
  std::vector<int32_t> renumbered(graph.n_local()), grouped(graph.halo.size());
  std::iota(renumbered.begin(), renumbered.begin() + n_owned, 0);
  bool changed = false;
  for (int64_t seen = 0; seen < graph.n_halo(); ++seen) {
    const int32_t place = next[owner[graph.halo[seen]]]++;
    grouped[place] = graph.halo[seen];
    renumbered[n_owned + seen] = static_cast<int32_t>(n_owned) + place;
    changed |= place != seen;
  }
  if (!changed) return;
  graph.halo = std::move(grouped);
  for (int32_t& sender : graph.sender) sender = renumbered[sender];
}

}  // namespace

LocalGraph build_local_graph(const graph::Bins& bins, const std::vector<int32_t>& owner, int32_t n_partitions,
                             std::vector<int32_t> owned, std::vector<int32_t>& local_row) {
  LocalGraph graph;
  graph.owned = std::move(owned);
  for (int64_t row = 0; row < graph.n_owned(); ++row) local_row[graph.owned[row]] = static_cast<int32_t>(row);
  collect_edges(bins, local_row, graph);
  for (int32_t atom : graph.owned) local_row[atom] = -1;
  for (int32_t atom : graph.halo) local_row[atom] = -1;
  group_halo(owner, n_partitions, graph);
  return graph;
}

}  // namespace distmlip::partition
