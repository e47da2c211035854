// Moves rows between partitions, forward and adjoint. Knows nothing of what the rows mean.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace distmlip::exchange {

/// One tensor per partition, each on the device of its partition.
using PerPartition = std::vector<at::Tensor>;

/// Which rows every partition sends to every other. Built with the graph, reused by every exchange.
struct RowPlan {
  /// rows[p] (int64, on the device of p): the rows of p that others read, grouped by reader.
  PerPartition rows;
  /// counts[p * P + q]: how many of rows[p] partition q reads.
  std::vector<int64_t> counts;

  int64_t n_partitions() const { return static_cast<int64_t>(rows.size()); }
  /// How many rows partition q receives.
  int64_t received(int64_t q) const;
};

/// Throws c10::ValueError if the plan does not fit `x` (partitions, devices, shapes).
void check(const RowPlan& plan, const PerPartition& x);

/// result[q]: the rows that q reads, grouped by owner.
PerPartition gather(const RowPlan& plan, const PerPartition& x);

/// Adjoint of gather: result[p] (n_rows[p], ...) sums the rows of `y` into the rows that they were read from.
PerPartition scatter(const RowPlan& plan, const PerPartition& y, c10::SymIntArrayRef n_rows);

/// result[p] = [x[p]; gather(x)[p]]: owned rows, then halo rows.
PerPartition halo(const RowPlan& plan, const PerPartition& x);

/// Adjoint of halo: owned rows plus what their copies elsewhere collected.
PerPartition fold(const RowPlan& plan, const PerPartition& y);

/// For rows with one copy in another partition: both copies become their sum. The plan is symmetric (the
/// k-th row of p for q and the k-th row of q for p are copies of each other), so add is its own adjoint.
PerPartition add(const RowPlan& plan, const PerPartition& x);

/// For rows with one copy in another partition, of which x[p] has only those rows, grouped by the other
/// partition: each becomes its copy. counts[p * P + q] = counts[q * P + p] rows are shared by p and q. Its
/// own adjoint. Throws c10::ValueError if counts do not fit `x`.
PerPartition swap(const std::vector<int64_t>& counts, const PerPartition& x);

/// The sum over partitions of tensors of one shape, in the order of partitions, for every one of them. Its
/// own adjoint. Throws c10::ValueError if shapes differ.
PerPartition all_sum(const PerPartition& x);

}  // namespace distmlip::exchange
