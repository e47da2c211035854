// Moves rows between partitions, forward and adjoint. Knows nothing of what the rows mean.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace distmlip::exchange {

/// One tensor per partition, each on the device of its partition.
using PerPartition = std::vector<at::Tensor>;

/// Which rows of others every partition reads. Built with the graph, reused by every exchange.
///
/// Partitions on one device share a *pool*, which is what they can read: the rows of all of them, one after
/// another, then the rows that are imported from each other pool.
struct RowPlan {
  /// sources[q] (int64, on the device of q): the rows that q reads, as rows of its pool.
  PerPartition sources;
  /// pools[q]: the pool of partition q, of D. Empty if D = 1.
  std::vector<int64_t> pools;
  /// imports[d * D + e] (int64, on the device of pool d): what pool e imports from pool d, as rows of all
  /// partitions of d, one after another. Empty if D = 1.
  PerPartition imports;
  /// Rows of other processes: they come last in the pool, which is the only one then. Empty: there are none.
  struct Remote {
    at::Tensor sent;  // (n) int64: rows of all partitions of the pool, by the rank that reads them
    std::vector<int64_t> send_counts, receive_counts;  // rows, of each rank
  } remote;

  int64_t n_partitions() const { return static_cast<int64_t>(sources.size()); }
  /// How many rows partition q receives.
  int64_t received(size_t q) const { return sources[q].size(0); }
};

/// The rows that other processes read, by rank.
at::Tensor sent_rows(const RowPlan& plan, const PerPartition& x);

/// result[p]: rows[p] (int64) of x[p].
PerPartition rows_of(const PerPartition& rows, const PerPartition& x);

/// Throws c10::ValueError if the plan does not fit `x` (partitions, devices, shapes).
void check(const RowPlan& plan, const PerPartition& x);

/// result[q]: the rows that q reads. `received`: what the sent_rows() of all other processes bring here.
PerPartition gather(const RowPlan& plan, const PerPartition& x, const at::Tensor& received = {});

/// Adjoint of gather: result[p] (n_rows[p], ...) sums the rows of `y` into the rows that they were read from.
PerPartition scatter(const RowPlan& plan, const PerPartition& y, c10::SymIntArrayRef n_rows);

/// result[p] = [x[p]; gather(x)[p]]: owned rows, then halo rows.
PerPartition halo(const RowPlan& plan, const PerPartition& x, const at::Tensor& received = {});

/// Adjoint of halo: owned rows plus what their copies elsewhere collected.
PerPartition fold(const RowPlan& plan, const PerPartition& y);

/// The same with other processes, in two halves: what was collected for their rows, in the order in which
/// they sent them; and the result, with what they collected for the rows that were sent.
struct HalfFolded {
  at::Tensor owned;      // rows of all partitions
  at::Tensor collected;  // (n_received, ...)
  std::vector<int64_t> n_rows;
};
HalfFolded begin_fold(const RowPlan& plan, const PerPartition& y);
PerPartition end_fold(const RowPlan& plan, HalfFolded folded, const at::Tensor& returned);

/// For rows with one copy in another partition, of which x[p] has only those rows: each becomes its copy. The
/// plan is symmetric (where a row reads from is where its copy is read), so swap is its own adjoint.
PerPartition swap(const RowPlan& plan, const PerPartition& x, const at::Tensor& received = {});

/// The same for x[p] with more rows, of which rows[p] (int64) have a copy: both copies become their sum. Its
/// own adjoint.
PerPartition add(const RowPlan& plan, const PerPartition& rows, const PerPartition& x,
                 const at::Tensor& received = {});

/// The sum over partitions of tensors of one shape, in the order of partitions, for every one of them. Its
/// own adjoint. Throws c10::ValueError if shapes differ.
PerPartition all_sum(const PerPartition& x);

}  // namespace distmlip::exchange
