#include "partition/local_candidates.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <span>
#include <utility>

#include "core/error.h"

namespace distmlip::partition {
namespace {

constexpr int64_t most_candidates = std::numeric_limits<int32_t>::max();

/// Rows that are searched at once, before their senders are numbered: few enough to be cached still.
constexpr int64_t rows_at_once = 256;

/// Turns the senders of rows from ordinals into local rows. Halo atoms are numbered as they are first seen.
class SenderNumbering {
 public:
  SenderNumbering(neighbors::NeighborRows& rows, Buffer<int32_t>& local_row, int64_t n_owned)
      : rows_(rows),
        filter_(kernels::distance_filter()),
        local_row_(local_row.data()),
        n_owned_(static_cast<int32_t>(n_owned)) {}

  void number(int64_t begin_row, int64_t end_row) {
    const int64_t begin = rows_.row_begin[begin_row], n_edges = rows_.row_begin[end_row] - begin;
    if (static_cast<int64_t>(halo_.size()) < n_halo_ + n_edges) halo_.resize(2 * (n_halo_ + n_edges));
    const kernels::RowNumbers numbers{local_row_, n_owned_ + n_halo_, halo_.data() + n_halo_};
    n_halo_ = filter_.number(numbers, rows_.sender.data() + begin, n_edges) - n_owned_;
  }

  /// Ordinals of the halo atoms, in the order of their numbers.
  std::span<const int32_t> halo() const { return {halo_.data(), static_cast<size_t>(n_halo_)}; }

 private:
  neighbors::NeighborRows& rows_;
  kernels::Filter filter_;
  int32_t* local_row_;
  int32_t n_owned_, n_halo_ = 0;
  Buffer<int32_t> halo_;
};

/// Replaces the senders of all rows that read halo atoms by their entry in `row`, (n_local).
void renumber(Buffer<int32_t>& row, LocalCandidates& graph) {
  const auto filter = kernels::distance_filter();
  const auto n_owned = static_cast<int32_t>(graph.n_owned());
  const kernels::RowNumbers numbers{row.data(), 0, nullptr};
  for (int64_t receiver = 0; receiver < n_owned; ++receiver) {
    const int64_t begin = graph.row_begin[receiver], end = graph.row_begin[receiver + 1];
    int32_t negative_if_halo = 0;  // in a form that compilers vectorise: most rows have none
    for (int64_t edge = begin; edge < end; ++edge) negative_if_halo |= n_owned - 1 - graph.sender[edge];
    if (negative_if_halo < 0) filter.number(numbers, graph.sender.data() + begin, end - begin);
  }
}

/// Renumbers halo rows from first-seen order to groups by owner.
void group_halo(const GraphInput& input, std::span<const int32_t> halo, LocalCandidates& graph) {
  std::vector<int32_t> owners(halo.size()), place;
  for (size_t seen = 0; seen < halo.size(); ++seen) owners[seen] = input.owner[halo[seen]];
  graph.halo_groups = RowGroups::of(owners, place);
  const auto n_owned = static_cast<int32_t>(graph.n_owned());
  Buffer<int32_t> row(n_owned + halo.size());
  std::iota(row.begin(), row.begin() + n_owned, 0);
  graph.halo.resize(halo.size());
  for (size_t seen = 0; seen < halo.size(); ++seen) {
    row[n_owned + seen] = n_owned + place[seen];
    graph.halo[place[seen]] = input.bins.order[halo[seen]];
  }
  if (!std::is_sorted(row.begin(), row.end())) renumber(row, graph);
}

void check_size(const neighbors::NeighborRows& rows) {
  if (rows.row_begin.back() <= most_candidates) return;
  invalid("a partition has ", rows.row_begin.back(), " edges; at most ", most_candidates,
          " are supported: use more partitions or a smaller cutoff or skin");
}

}  // namespace

LocalCandidates build_candidates(const GraphInput& input, const int32_t* ordinals, int64_t n_ordinals,
                                 Buffer<int32_t>& local_row, int n_threads) {
  const auto& order = input.bins.order;
  LocalCandidates graph;
  graph.owned.resize(n_ordinals);
  for (int64_t row = 0; row < n_ordinals; ++row) {
    graph.owned[row] = order[ordinals[row]];
    local_row[ordinals[row]] = static_cast<int32_t>(row);
  }
  neighbors::NeighborRows rows;
  if (n_threads > 1)
    rows = neighbors::find_rows(input.bins, input.rule, ordinals, n_ordinals, n_threads);
  else
    rows = neighbors::make_rows(input.bins, input.rule, ordinals, n_ordinals);
  SenderNumbering numbering(rows, local_row, n_ordinals);
  neighbors::NeighborSearch search(input.bins, input.rule);
  for (int64_t begin = 0; begin < n_ordinals; begin += rows_at_once) {
    const int64_t end = std::min(n_ordinals, begin + rows_at_once);
    if (n_threads <= 1) neighbors::append_rows(search, ordinals + begin, end - begin, rows);
    check_size(rows);
    if (n_ordinals < input.bins.n_atoms()) numbering.number(begin, end);
  }
  neighbors::close_rows(rows);
  graph.row_begin = std::move(rows.row_begin);
  graph.sender = std::move(rows.sender);
  graph.shift_code = std::move(rows.shift_code);
  for (int64_t row = 0; row < n_ordinals; ++row) local_row[ordinals[row]] = -1;
  for (const int32_t ordinal : numbering.halo()) local_row[ordinal] = -1;
  group_halo(input, numbering.halo(), graph);
  return graph;
}

}  // namespace distmlip::partition
