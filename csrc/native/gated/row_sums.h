// Tables whose rows are sums over items: of bonds or of pairs of them.
//
// Items are divided into chunks. A chunk adds to rows of its own; those of several chunks are then added to
// the tables, in the order of the chunks: sums do not depend on the number of threads.
#pragma once

#include <algorithm>
#include <vector>

#include "core/buffer.h"
#include "core/thread_pool.h"
#include "native/matrix.h"

namespace distmlip::native::gated {

/// Of a table (n, width).
template <class T>
struct Table {
  T* rows;
  int width;
};

/// What one chunk adds to tables with rows of the same kind.
template <class T>
class Share {
 public:
  /// Before touch().
  void open(int64_t n_rows) {
    if (places_.size() < static_cast<size_t>(n_rows)) places_.resize(static_cast<size_t>(n_rows), -1);
    touched_.clear();
  }
  void touch(int32_t row) {
    int32_t& place = places_[static_cast<size_t>(row)];
    if (place >= 0) return;
    place = static_cast<int32_t>(touched_.size());
    touched_.push_back(row);
  }
  /// After it.
  void clear(const std::vector<Table<T>>& tables) {
    sums_.resize(tables.size());
    for (size_t k = 0; k < tables.size(); ++k) {
      sums_[k].resize(touched_.size() * static_cast<size_t>(tables[k].width) + slack);
      std::fill(sums_[k].begin(), sums_[k].end(), T(0));
    }
  }
  T* row(const std::vector<Table<T>>& tables, size_t table, int32_t of) {
    return sums_[table].data() +
           static_cast<std::ptrdiff_t>(places_[static_cast<size_t>(of)]) * tables[table].width;
  }
  void add_to(const std::vector<Table<T>>& tables) {
    for (size_t k = 0; k < tables.size(); ++k) {
      const T* from = sums_[k].data();
      for (const int32_t row : touched_) {
        T* to = tables[k].rows + static_cast<std::ptrdiff_t>(row) * tables[k].width;
        for (int c = 0; c < tables[k].width; ++c) to[c] += *from++;
      }
    }
    for (const int32_t row : touched_) places_[static_cast<size_t>(row)] = -1;
  }

 private:
  std::vector<int32_t> touched_, places_;
  std::vector<Buffer<T>> sums_;
};

constexpr int64_t chunks_at_a_time = 8;
constexpr int64_t atoms_per_chunk = 128;
inline int64_t chunks_of(int64_t n_owned) {
  return std::max<int64_t>(1, (n_owned + atoms_per_chunk - 1) / atoms_per_chunk);
}

/// Calls work(chunk, slot) for each chunk, and finish(slot) for those of each stretch in their order.
template <class Work, class Finish>
void in_chunks(int64_t n_chunks, int n_threads, Work work, Finish finish) {
  for (int64_t first = 0; first < n_chunks; first += chunks_at_a_time) {
    const int64_t n = std::min(chunks_at_a_time, n_chunks - first);
    parallel_for(n, n_threads, [&](int64_t slot, int) { work(first + slot, static_cast<size_t>(slot)); });
    for (int64_t slot = 0; slot < n; ++slot) finish(static_cast<size_t>(slot));
  }
}

/// [first, last) of n items that belong to a chunk.
struct Stretch {
  int64_t first, last;
};
inline Stretch stretch_of(int64_t chunk, int64_t n_chunks, int64_t n) {
  return {n * chunk / n_chunks, n * (chunk + 1) / n_chunks};
}

}  // namespace distmlip::native::gated
