#include "exchange/exchange.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>

namespace distmlip::exchange {
namespace {

size_t n_pools(const RowPlan& plan) {
  return plan.pools.empty()
             ? 1
             : static_cast<size_t>(1 + *std::max_element(plan.pools.begin(), plan.pools.end()));
}

size_t pool_of(const RowPlan& plan, size_t p) {
  return plan.pools.empty() ? 0 : static_cast<size_t>(plan.pools[p]);
}

at::Tensor joined(const PerPartition& tensors) {
  return tensors.size() == 1 ? tensors.front() : at::cat(tensors, 0);
}

/// The rows of the partitions of each pool.
std::vector<at::Tensor> own_rows(const RowPlan& plan, const PerPartition& x) {
  std::vector<PerPartition> by_pool(n_pools(plan));
  for (size_t p = 0; p < x.size(); ++p) {
    by_pool[pool_of(plan, p)].push_back(x[p]);
  }
  std::vector<at::Tensor> result;
  for (const auto& tensors : by_pool) {
    result.push_back(joined(tensors));
  }
  return result;
}

/// All that the partitions of each pool can read.
std::vector<at::Tensor> readable_rows(const RowPlan& plan, const PerPartition& x,
                                      const at::Tensor& received) {
  const auto own = own_rows(plan, x);
  if (received.defined()) {
    return {at::cat({own[0], received}, 0)};
  }
  std::vector<at::Tensor> result;
  for (size_t e = 0; e < own.size(); ++e) {
    PerPartition readable{own[e]};
    for (size_t d = 0; d < own.size(); ++d) {
      if (d != e) {
        const auto& rows = plan.imports[d * own.size() + e];
        readable.push_back(own[d].index_select(0, rows).to(own[e].device()));
      }
    }
    result.push_back(joined(readable));
  }
  return result;
}

/// Adjoint of readable_rows after own_rows: what was collected for the n_own[d] rows of each pool.
std::vector<at::Tensor> fold_imports(const RowPlan& plan, const std::vector<at::Tensor>& collected,
                                     const std::vector<c10::SymInt>& n_own) {
  const size_t n = collected.size();
  std::vector<at::Tensor> result;
  for (size_t d = 0; d < n; ++d) {
    result.push_back(collected[d].narrow_symint(0, 0, n_own[d]));
  }
  for (size_t e = 0; e < n; ++e) {
    c10::SymInt begin = n_own[e];
    for (size_t d = 0; d < n; ++d) {
      if (d != e) {
        const auto& rows = plan.imports[d * n + e];
        const auto imported = collected[e].narrow_symint(0, begin, rows.sym_size(0));
        result[d] = result[d].index_add(0, rows, imported.to(rows.device()));
        begin += rows.sym_size(0);
      }
    }
  }
  return result;
}

std::vector<c10::SymInt> with_rows(const at::Tensor& like, const c10::SymInt& n_rows) {
  auto shape = like.sym_sizes().vec();
  shape[0] = n_rows;
  return shape;
}

/// scatter, whose results may be parts of one tensor.
PerPartition scatter_views(const RowPlan& plan, const PerPartition& y, c10::SymIntArrayRef n_rows) {
  const size_t n = n_pools(plan);
  std::vector<c10::SymInt> n_own(n, 0), n_readable(n, 0);
  for (size_t p = 0; p < y.size(); ++p) {
    n_own[pool_of(plan, p)] += n_rows[p];
  }
  for (size_t e = 0; e < n; ++e) {
    n_readable[e] = n_own[e];
    for (size_t d = 0; d < n; ++d) {
      n_readable[e] += d == e ? c10::SymInt(0) : plan.imports[d * n + e].sym_size(0);
    }
  }
  std::vector<at::Tensor> collected(n);
  for (size_t q = 0; q < y.size(); ++q) {
    const size_t e = pool_of(plan, q);
    if (!collected[e].defined()) {
      collected[e] = y[q].new_zeros_symint(with_rows(y[q], n_readable[e]));
    }
    collected[e].index_add_(0, plan.sources[q], y[q]);
  }
  const auto own = fold_imports(plan, collected, n_own);
  std::vector<c10::SymInt> begin(n, 0);
  PerPartition result;
  for (size_t p = 0; p < y.size(); ++p) {
    const size_t d = pool_of(plan, p);
    result.push_back(own[d].narrow_symint(0, begin[d], n_rows[p]));
    begin[d] += n_rows[p];
  }
  return result;
}

/// Pools are numbered from 0 without gaps, and each is on one device, where its imports are taken from.
void check_pools(const RowPlan& plan, const PerPartition& x) {
  TORCH_CHECK_VALUE(plan.pools.empty() || plan.pools.size() == x.size(), "pools has ", plan.pools.size(),
                    " entries for ", x.size(), " partitions");
  const size_t n = n_pools(plan);
  std::vector<const at::Tensor*> first(n, nullptr);
  for (size_t p = 0; p < x.size(); ++p) {
    TORCH_CHECK_VALUE(plan.pools.empty() || plan.pools[p] >= 0, "pools[", p, "] is ", plan.pools[p],
                      "; pools are numbered from 0");
    const at::Tensor*& other = first[pool_of(plan, p)];
    other = other == nullptr ? &x[p] : other;
    TORCH_CHECK_VALUE(other->device() == x[p].device(), "partition ", p, " is on ", x[p].device(),
                      ", another one of its pool on ", other->device());
  }
  TORCH_CHECK_VALUE(std::count(first.begin(), first.end(), nullptr) == 0,
                    "pools has gaps; pools are numbered from 0");
  const size_t wanted = n > 1 ? n * n : 0;
  TORCH_CHECK_VALUE(plan.imports.size() == wanted, "imports has ", plan.imports.size(), " entries, but ", n,
                    " pools need ", wanted);
}

}  // namespace

void check(const RowPlan& plan, const PerPartition& x) {
  const auto n = static_cast<size_t>(plan.n_partitions());
  TORCH_CHECK_VALUE(x.size() == n, "the plan has ", n, " partitions, but ", x.size(),
                    " tensors were given; give one tensor per partition");
  for (size_t p = 0; p < n; ++p) {
    const auto& rows = plan.sources[p];
    TORCH_CHECK_VALUE(rows.dim() == 1 && rows.scalar_type() == at::kLong, "sources of partition ", p,
                      " must be a 1-D int64 tensor, got ", rows.dim(), "-D ", rows.scalar_type());
    TORCH_CHECK_VALUE(x[p].dim() > 0 && x[p].device() == rows.device(), "the tensor of partition ", p,
                      " must have rows and be where its plan is; it is ", x[p].dim(), "-D on ", x[p].device(),
                      ", the plan is on ", rows.device());
  }
  check_pools(plan, x);
}

at::Tensor sent_rows(const RowPlan& plan, const PerPartition& x) {
  return joined(x).index_select(0, plan.remote.sent);
}

PerPartition gather(const RowPlan& plan, const PerPartition& x, const at::Tensor& received) {
  const auto readable = readable_rows(plan, x, received);
  PerPartition result;
  for (size_t q = 0; q < x.size(); ++q) {
    result.push_back(readable[pool_of(plan, q)].index_select(0, plan.sources[q]));
  }
  return result;
}

PerPartition scatter(const RowPlan& plan, const PerPartition& y, c10::SymIntArrayRef n_rows) {
  PerPartition result = scatter_views(plan, y, n_rows);
  for (auto& rows : result) {
    rows = rows.clone();
  }
  return result;
}

PerPartition halo(const RowPlan& plan, const PerPartition& x, const at::Tensor& received) {
  PerPartition result = gather(plan, x, received);
  for (size_t p = 0; p < result.size(); ++p) {
    result[p] = at::cat({x[p], result[p]}, 0);
  }
  return result;
}

PerPartition fold(const RowPlan& plan, const PerPartition& y) {
  PerPartition owned, halo_rows;
  std::vector<c10::SymInt> n_owned;
  for (size_t p = 0; p < y.size(); ++p) {
    const auto n_halo = plan.sources[p].sym_size(0);
    n_owned.push_back(y[p].sym_size(0) - n_halo);
    owned.push_back(y[p].narrow_symint(0, 0, n_owned.back()));
    halo_rows.push_back(y[p].narrow_symint(0, n_owned.back(), n_halo));
  }
  PerPartition result = scatter_views(plan, halo_rows, n_owned);
  for (size_t p = 0; p < result.size(); ++p) {
    result[p] = result[p] + owned[p];
  }
  return result;
}

HalfFolded begin_fold(const RowPlan& plan, const PerPartition& y) {
  HalfFolded folded;
  PerPartition owned;
  for (size_t p = 0; p < y.size(); ++p) {
    folded.n_rows.push_back(y[p].size(0) - plan.received(p));
    owned.push_back(y[p].narrow(0, 0, folded.n_rows.back()));
  }
  folded.owned = at::cat(owned, 0);
  const int64_t n_owned = folded.owned.size(0);
  const auto& counts = plan.remote.receive_counts;
  const int64_t n_received = std::accumulate(counts.begin(), counts.end(), int64_t{0});
  auto readable = at::cat({folded.owned, y[0].new_zeros_symint(with_rows(y[0], n_received))}, 0);
  for (size_t p = 0; p < y.size(); ++p) {
    readable.index_add_(0, plan.sources[p], y[p].narrow(0, folded.n_rows[p], plan.received(p)));
  }
  folded.owned = readable.narrow(0, 0, n_owned);
  folded.collected = readable.narrow(0, n_owned, n_received);
  return folded;
}

PerPartition end_fold(const RowPlan& plan, HalfFolded folded, const at::Tensor& returned) {
  return folded.owned.index_add(0, plan.remote.sent, returned).split_with_sizes(folded.n_rows, 0);
}

PerPartition swap(const RowPlan& plan, const PerPartition& x, const at::Tensor& received) {
  for (size_t p = 0; p < x.size(); ++p) {
    TORCH_CHECK_VALUE(x[p].sym_size(0) == plan.sources[p].sym_size(0), "the tensor of partition ", p,
                      " must have ", plan.sources[p].sym_size(0), " rows, but its shape is ",
                      x[p].sym_sizes());
  }
  return gather(plan, x, received);
}

PerPartition rows_of(const PerPartition& rows, const PerPartition& x) {
  PerPartition result;
  for (size_t p = 0; p < x.size(); ++p) {
    result.push_back(x[p].index_select(0, rows[p]));
  }
  return result;
}

PerPartition add(const RowPlan& plan, const PerPartition& rows, const PerPartition& x,
                 const at::Tensor& received) {
  PerPartition result = swap(plan, rows_of(rows, x), received);
  for (size_t p = 0; p < result.size(); ++p) {
    result[p] = x[p].index_add(0, rows[p], result[p]);
  }
  return result;
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
