#include "neighbors/neighbor_search.h"

#include <algorithm>
#include <utility>

#include "core/thread_pool.h"

namespace distmlip::neighbors {
namespace {

constexpr int64_t rows_per_thread = 2000;

/// visit(first slot, end slot) for each run of bins within reach of `bin`.
template <class Visit>
void for_each_run(const Bins& bins, int64_t bin, Visit visit) {
  const int64_t along_x = bins.axes[0].layers;
  for (int64_t z = -bins.axes[2].layers; z <= bins.axes[2].layers; ++z) {
    for (int64_t y = -bins.axes[1].layers; y <= bins.axes[1].layers; ++y) {
      const int64_t middle = bin + z * bins.plane_stride() + y * bins.row_stride();
      visit(bins.begin[middle - along_x], bins.begin[middle + along_x + 1]);
    }
  }
}

/// Puts rows that were found apart one after another.
NeighborRows joined(std::vector<NeighborRows>& parts, int n_threads) {
  NeighborRows all = std::move(parts.front());
  std::vector<int64_t> first{0};
  for (size_t k = 0; k < parts.size(); ++k) {
    const auto& begin = k == 0 ? all.row_begin : parts[k].row_begin;
    first.push_back(first.back() + begin.back());
  }
  all.sender.resize(first.back());
  all.shift_code.resize(first.back());
  parallel_for(static_cast<int64_t>(parts.size()) - 1, n_threads, [&](int64_t k, int) {
    const NeighborRows& part = parts[k + 1];
    const int64_t n_edges = part.row_begin.back();
    std::copy_n(part.sender.begin(), n_edges, all.sender.begin() + first[k + 1]);
    std::copy_n(part.shift_code.begin(), n_edges, all.shift_code.begin() + first[k + 1]);
  });
  for (size_t k = 1; k < parts.size(); ++k)
    for (int64_t row = 1; row <= parts[k].n_rows(); ++row)
      all.row_begin.push_back(first[k] + parts[k].row_begin[row]);
  return all;
}

}  // namespace

int64_t NeighborSearch::enter(int32_t ordinal) {
  ordinal_ = ordinal;
  if (bins_.bin[ordinal] != bin_) gather_candidates(bins_.bin[ordinal]);
  return candidates_.n_padded + kernels::filter_lanes;
}

/// Everything within reach of a bin, next to each other: all atoms of the bin then run over it in one loop.
void NeighborSearch::gather_candidates(int32_t bin) {
  bin_ = bin;
  runs_.clear();
  int64_t n = 0;
  const int32_t own = bins_.begin[bin];
  for_each_run(bins_, bin, [&](int32_t begin, int32_t end) {
    if (begin == end) return;
    if (begin <= own && own < end) own_ = n - begin;
    runs_.push_back({begin, end});
    n += end - begin;
  });
  const int64_t room = n + 2 * kernels::filter_lanes;
  if (static_cast<int64_t>(x_.size()) < room) {
    for (auto* array : {&x_, &y_, &z_}) array->resize(2 * room);
    candidate_ordinal_.assign(2 * room, 0);
    shift_code_.resize(2 * room);
  }
  candidates_ =
      filter_.pack(bins_.slots(), runs_.data(), static_cast<int64_t>(runs_.size()),
                   {x_.data(), y_.data(), z_.data(), candidate_ordinal_.data(), shift_code_.data()});
}

int64_t NeighborSearch::write(kernels::Hits hits) const {
  const auto count = filter_.around(candidates_, own_ + bins_.slot[ordinal_], bins_.limits, hits);
  return count.undecided ? decide(hits, count.n) : count.n;
}

int64_t NeighborSearch::decide(kernels::Hits hits, int64_t n_hits) const {
  int64_t n = 0;
  for (int64_t k = 0; k < n_hits; ++k) {
    hits.ordinal[n] = hits.ordinal[k];
    hits.shift_code[n] = hits.shift_code[k];
    n += rule_.holds(ordinal_, hits.ordinal[k], hits.shift_code[k]);
  }
  return n;
}

void append_rows(NeighborSearch& search, const int32_t* ordinals, int64_t n_ordinals, NeighborRows& rows) {
  int64_t n_edges = rows.row_begin.back();
  for (int64_t k = 0; k < n_ordinals; ++k) {
    const int64_t needed = n_edges + search.enter(ordinals[k]);
    if (needed > static_cast<int64_t>(rows.sender.size())) {
      rows.sender.resize(needed + needed / 4);
      rows.shift_code.resize(needed + needed / 4);
    }
    n_edges += search.write({rows.sender.data() + n_edges, rows.shift_code.data() + n_edges});
    rows.row_begin.push_back(n_edges);
  }
}

void close_rows(NeighborRows& rows) {
  rows.sender.resize(rows.row_begin.back());
  rows.shift_code.resize(rows.row_begin.back());
}

NeighborRows make_rows(const Bins& bins, const EdgeRule& rule, const int32_t* ordinals, int64_t n_ordinals) {
  constexpr int64_t most_samples = 500, atoms_per_sample = 256;
  const int64_t n_samples = std::min(most_samples, (n_ordinals + atoms_per_sample - 1) / atoms_per_sample);
  NeighborSearch search(bins, rule);
  NeighborRows sample;
  for (int64_t k = 0; k < n_samples; ++k)
    append_rows(search, ordinals + n_ordinals * (2 * k + 1) / (2 * n_samples), 1, sample);
  const auto n_found = static_cast<double>(sample.row_begin.back());
  const double mean = n_found / static_cast<double>(std::max<int64_t>(n_samples, 1));
  NeighborRows rows;
  rows.row_begin.reserve(n_ordinals + 1);
  rows.sender.resize(static_cast<size_t>(1.1 * mean * static_cast<double>(n_ordinals)) + 1024);
  rows.shift_code.resize(rows.sender.size());
  return rows;
}

NeighborRows find_rows(const Bins& bins, const EdgeRule& rule, const int32_t* ordinals, int64_t n_ordinals,
                       int n_threads) {
  n_threads = static_cast<int>(std::clamp<int64_t>(n_ordinals / rows_per_thread, 1, std::max(1, n_threads)));
  std::vector<NeighborRows> parts(n_threads);
  parallel_for(n_threads, n_threads, [&](int64_t share, int) {
    const int64_t begin = n_ordinals * share / n_threads, end = n_ordinals * (share + 1) / n_threads;
    NeighborSearch search(bins, rule);
    parts[share] = make_rows(bins, rule, ordinals + begin, end - begin);
    append_rows(search, ordinals + begin, end - begin, parts[share]);
  });
  NeighborRows rows = joined(parts, n_threads);
  close_rows(rows);
  return rows;
}

}  // namespace distmlip::neighbors
