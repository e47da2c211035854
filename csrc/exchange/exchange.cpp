#include "exchange/exchange.h"

#include <ATen/ATen.h>

namespace distmlip::exchange {
namespace {

/// The pieces of the concatenation of groups of the given sizes.
PerPartition split(const at::Tensor& x, const std::vector<int64_t>& sizes) {
  return at::split_with_sizes(x, sizes);
}

std::vector<int64_t> sent_counts(const RowPlan& plan, int64_t p) {
  const int64_t n = plan.n_partitions();
  return {plan.counts.begin() + p * n, plan.counts.begin() + (p + 1) * n};
}

std::vector<int64_t> received_counts(const RowPlan& plan, int64_t q) {
  std::vector<int64_t> counts;
  for (int64_t p = 0; p < plan.n_partitions(); ++p) {
    counts.push_back(plan.counts[static_cast<size_t>(p * plan.n_partitions() + q)]);
  }
  return counts;
}

/// Transposes pieces[p][q] into one tensor per q, on the device of q.
PerPartition deliver(const std::vector<PerPartition>& pieces, const PerPartition& devices_of) {
  PerPartition delivered;
  for (size_t q = 0; q < pieces.size(); ++q) {
    std::vector<at::Tensor> arriving;
    for (const auto& from : pieces) {
      arriving.push_back(from[q].to(devices_of[q].device()));
    }
    delivered.push_back(at::cat(arriving, 0));
  }
  return delivered;
}

}  // namespace

int64_t RowPlan::received(int64_t q) const {
  int64_t total = 0;
  for (const int64_t count : received_counts(*this, q)) {
    total += count;
  }
  return total;
}

void check(const RowPlan& plan, const PerPartition& x) {
  const int64_t n = plan.n_partitions();
  TORCH_CHECK_VALUE(static_cast<int64_t>(x.size()) == n, "the plan has ", n, " partitions, but ", x.size(),
                    " tensors were given; give one tensor per partition");
  TORCH_CHECK_VALUE(static_cast<int64_t>(plan.counts.size()) == n * n, "counts has ", plan.counts.size(),
                    " entries, but ", n, " partitions need ", n * n);
  for (int64_t p = 0; p < n; ++p) {
    const auto& rows = plan.rows[static_cast<size_t>(p)];
    const auto& tensor = x[static_cast<size_t>(p)];
    int64_t sent = 0;
    for (const int64_t count : sent_counts(plan, p)) {
      TORCH_CHECK_VALUE(count >= 0, "counts of partition ", p, " contain ", count, "; counts must be >= 0");
      sent += count;
    }
    TORCH_CHECK_VALUE(rows.dim() == 1 && rows.scalar_type() == at::kLong, "rows of partition ", p,
                      " must be a 1-D int64 tensor, got ", rows.dim(), "-D ", rows.scalar_type());
    TORCH_CHECK_VALUE(rows.sym_size(0) == sent, "partition ", p, " has ", rows.sym_size(0),
                      " rows to send, but its counts sum to ", sent);
    TORCH_CHECK_VALUE(tensor.device() == rows.device(), "the tensor of partition ", p, " is on ",
                      tensor.device(), ", but its plan is on ", rows.device());
  }
}

PerPartition gather(const RowPlan& plan, const PerPartition& x) {
  std::vector<PerPartition> sent;
  for (int64_t p = 0; p < plan.n_partitions(); ++p) {
    const auto i = static_cast<size_t>(p);
    sent.push_back(split(x[i].index_select(0, plan.rows[i]), sent_counts(plan, p)));
  }
  return deliver(sent, plan.rows);
}

PerPartition scatter(const RowPlan& plan, const PerPartition& y, c10::SymIntArrayRef n_rows) {
  std::vector<PerPartition> returned;
  for (int64_t q = 0; q < plan.n_partitions(); ++q) {
    returned.push_back(split(y[static_cast<size_t>(q)], received_counts(plan, q)));
  }
  const PerPartition collected = deliver(returned, plan.rows);
  PerPartition result;
  for (size_t p = 0; p < collected.size(); ++p) {
    auto shape = collected[p].sym_sizes().vec();
    shape[0] = n_rows[p];
    result.push_back(
        at::zeros_symint(shape, collected[p].options()).index_add(0, plan.rows[p], collected[p]));
  }
  return result;
}

PerPartition halo(const RowPlan& plan, const PerPartition& x) {
  PerPartition result = gather(plan, x);
  for (size_t p = 0; p < result.size(); ++p) {
    result[p] = at::cat({x[p], result[p]}, 0);
  }
  return result;
}

PerPartition fold(const RowPlan& plan, const PerPartition& y) {
  PerPartition owned;
  PerPartition halo_rows;
  std::vector<c10::SymInt> n_owned;
  for (size_t p = 0; p < y.size(); ++p) {
    n_owned.push_back(y[p].sym_size(0) - plan.received(static_cast<int64_t>(p)));
    owned.push_back(y[p].narrow_symint(0, 0, n_owned.back()));
    halo_rows.push_back(y[p].narrow_symint(0, n_owned.back(), y[p].sym_size(0) - n_owned.back()));
  }
  PerPartition result = scatter(plan, halo_rows, n_owned);
  for (size_t p = 0; p < result.size(); ++p) {
    result[p] = result[p] + owned[p];
  }
  return result;
}

PerPartition add(const RowPlan& plan, const PerPartition& x) {
  PerPartition result = gather(plan, x);
  for (size_t p = 0; p < result.size(); ++p) {
    result[p] = x[p].index_add(0, plan.rows[p], result[p]);
  }
  return result;
}

PerPartition swap(const std::vector<int64_t>& counts, const PerPartition& x) {
  const size_t n = x.size();
  TORCH_CHECK_VALUE(counts.size() == n * n, "counts has ", counts.size(), " entries, but ", n,
                    " partitions need ", n * n);
  std::vector<PerPartition> sent;
  for (size_t p = 0; p < n; ++p) {
    const std::vector<int64_t> mine(counts.begin() + static_cast<int64_t>(p * n),
                                    counts.begin() + static_cast<int64_t>((p + 1) * n));
    int64_t n_rows = 0;
    for (size_t q = 0; q < n; ++q) {
      TORCH_CHECK_VALUE(mine[q] >= 0 && mine[q] == counts[q * n + p], "partition ", p, " shares ", mine[q],
                        " rows with partition ", q, ", which shares ", counts[q * n + p],
                        "; both must be the same number, >= 0");
      n_rows += mine[q];
    }
    TORCH_CHECK_VALUE(x[p].dim() > 0 && x[p].sym_size(0) == n_rows, "the tensor of partition ", p,
                      " must have ", n_rows, " rows, but its shape is ", x[p].sym_sizes());
    sent.push_back(split(x[p], mine));
  }
  return deliver(sent, x);
}

PerPartition all_sum(const PerPartition& x) {
  PerPartition result;
  if (x.empty()) {
    return result;
  }
  at::Tensor total = x[0].clone();
  for (size_t p = 1; p < x.size(); ++p) {
    TORCH_CHECK_VALUE(x[p].sym_sizes() == x[0].sym_sizes(), "the tensor of partition ", p, " has shape ",
                      x[p].sym_sizes(), ", that of partition 0 ", x[0].sym_sizes(), "; they must agree");
    total = total + x[p].to(total.device());
  }
  for (const auto& tensor : x) {
    result.push_back(total.to(tensor.device(), total.scalar_type(), /*non_blocking=*/false, /*copy=*/true));
  }
  return result;
}

}  // namespace distmlip::exchange
