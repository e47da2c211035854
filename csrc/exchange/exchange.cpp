#include "exchange/exchange.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace distmlip::exchange {
namespace {

/// Which partitions are on which device.
struct Placement {
  std::vector<at::Device> devices;  // in the order in which partitions first name them
  std::vector<size_t> device_of;    // of each partition

  explicit Placement(const PerPartition& tensors) {
    for (const auto& tensor : tensors) {
      const auto found = std::find(devices.begin(), devices.end(), tensor.device());
      device_of.push_back(static_cast<size_t>(found - devices.begin()));
      if (found == devices.end()) {
        devices.push_back(tensor.device());
      }
    }
  }

  size_t n_devices() const { return devices.size(); }

  /// The tensors of each device.
  std::vector<PerPartition> by_device(const PerPartition& tensors) const {
    std::vector<PerPartition> grouped(devices.size());
    for (size_t p = 0; p < tensors.size(); ++p) {
      grouped[device_of[p]].push_back(tensors[p]);
    }
    return grouped;
  }
};

at::Tensor joined(const PerPartition& tensors) {
  return tensors.size() == 1 ? tensors.front() : at::cat(tensors, 0);
}

/// What the partitions of each device can read.
std::vector<at::Tensor> pools(const RowPlan& plan, const Placement& placement, const PerPartition& x) {
  std::vector<at::Tensor> own;
  for (const auto& tensors : placement.by_device(x)) {
    own.push_back(joined(tensors));
  }
  const size_t n = placement.n_devices();
  std::vector<at::Tensor> result;
  for (size_t e = 0; e < n; ++e) {
    PerPartition readable{own[e]};
    for (size_t d = 0; d < n; ++d) {
      if (d != e) {
        readable.push_back(own[d].index_select(0, plan.imports[d * n + e]).to(placement.devices[e]));
      }
    }
    result.push_back(joined(readable));
  }
  return result;
}

/// Adjoint of pools: for each device the sum of what was collected for the rows of its partitions.
std::vector<at::Tensor> fold_pools(const RowPlan& plan, const Placement& placement,
                                   const std::vector<at::Tensor>& collected,
                                   const std::vector<c10::SymInt>& n_own) {
  const size_t n = placement.n_devices();
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
        result[d] = result[d].index_add(0, rows, imported.to(placement.devices[d]));
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
  const Placement placement(y);
  const size_t n = placement.n_devices();
  std::vector<c10::SymInt> n_own(n, 0), n_pool(n, 0);
  std::vector<at::Tensor> collected(n);
  for (size_t p = 0; p < y.size(); ++p) {
    n_own[placement.device_of[p]] += n_rows[p];
  }
  for (size_t e = 0; e < n; ++e) {
    n_pool[e] = n_own[e];
    for (size_t d = 0; d < n; ++d) {
      n_pool[e] += d == e ? c10::SymInt(0) : plan.imports[d * n + e].sym_size(0);
    }
  }
  for (size_t q = 0; q < y.size(); ++q) {
    const size_t e = placement.device_of[q];
    if (!collected[e].defined()) {
      collected[e] = y[q].new_zeros_symint(with_rows(y[q], n_pool[e]));
    }
    collected[e].index_add_(0, plan.sources[q], y[q]);
  }
  const auto own = fold_pools(plan, placement, collected, n_own);
  std::vector<c10::SymInt> begin(n, 0);
  PerPartition result;
  for (size_t p = 0; p < y.size(); ++p) {
    const size_t d = placement.device_of[p];
    result.push_back(own[d].narrow_symint(0, begin[d], n_rows[p]));
    begin[d] += n_rows[p];
  }
  return result;
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
  const size_t n_devices = Placement(x).n_devices();
  const size_t wanted = n_devices > 1 ? n_devices * n_devices : 0;
  TORCH_CHECK_VALUE(plan.imports.size() == wanted, "imports has ", plan.imports.size(), " entries, but ",
                    n_devices, " devices need ", wanted);
}

PerPartition gather(const RowPlan& plan, const PerPartition& x) {
  const Placement placement(x);
  const auto readable = pools(plan, placement, x);
  PerPartition result;
  for (size_t q = 0; q < x.size(); ++q) {
    result.push_back(readable[placement.device_of[q]].index_select(0, plan.sources[q]));
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

PerPartition halo(const RowPlan& plan, const PerPartition& x) {
  PerPartition result = gather(plan, x);
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

PerPartition swap(const RowPlan& plan, const PerPartition& x) {
  for (size_t p = 0; p < x.size(); ++p) {
    TORCH_CHECK_VALUE(x[p].sym_size(0) == plan.sources[p].sym_size(0), "the tensor of partition ", p,
                      " must have ", plan.sources[p].sym_size(0), " rows, but its shape is ",
                      x[p].sym_sizes());
  }
  return gather(plan, x);
}

PerPartition add(const RowPlan& plan, const PerPartition& rows, const PerPartition& x) {
  PerPartition shared;
  for (size_t p = 0; p < x.size(); ++p) {
    shared.push_back(x[p].index_select(0, rows[p]));
  }
  PerPartition result = swap(plan, shared);
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
