#include "exchange/exchange.h"

#include <ATen/ATen.h>

#include <numeric>

#include "exchange/crossing.h"
#include "exchange/host_tensors.h"

namespace distmlip::exchange {
namespace {

std::vector<int64_t> with_rows(int64_t n_rows, std::vector<int64_t> width) {
  width.insert(width.begin(), n_rows);
  return width;
}

/// The sum in the order of the tensors.
at::Tensor sum_of(const std::vector<at::Tensor>& x) {
  at::Tensor total = x[0];
  for (size_t p = 1; p < x.size(); ++p) total = total + x[p];
  return total;
}

/// Throws c10::ValueError if shapes differ; returns the dtype that holds all.
at::ScalarType common_dtype(const PerPartition& x) {
  at::ScalarType dtype = x[0].scalar_type();
  for (size_t p = 1; p < x.size(); ++p) {
    TORCH_CHECK_VALUE(x[p].sizes() == x[0].sizes(), "the tensor of partition ", p, " has shape ",
                      x[p].sizes(), ", that of partition 0 ", x[0].sizes(), "; they must agree");
    dtype = at::promoteTypes(dtype, x[p].scalar_type());
  }
  return dtype;
}

}  // namespace

at::Tensor Exchange::zeros(const Crossing& at, size_t p) const {
  return at::zeros(shape(at, p), at::TensorOptions(at.dtype).device(at.atoms.sources[p].device()));
}

std::vector<int64_t> Halo::shape(const Crossing& at, size_t p) const {
  return with_rows(at.n_owned[p], width());
}

int64_t Halo::received(const Crossing& at) const { return at.atoms.received(); }

std::shared_ptr<const Exchange> Halo::adjoint() const { return std::make_shared<Fold>(name(), width()); }

std::vector<Parcel> Halo::begin(const Crossing& at, const PerPartition& x) const { return pack(at.atoms, x); }

PerPartition Halo::finish(const Crossing& at, PerPartition x, std::vector<Parcel> parcels) const {
  const auto pools = readable(parcels);
  for (size_t q = 0; q < x.size(); ++q) {
    const int64_t n_owned = x[q].size(0), n_halo = at.atoms.received(q);
    if (n_halo == 0) continue;
    const at::Tensor local = empty(with_rows(n_owned + n_halo, x[q].sizes().slice(1).vec()), x[q].options());
    local.narrow(0, 0, n_owned).copy_(x[q]);
    at::Tensor halo = local.narrow(0, n_owned, n_halo);
    at::index_select_out(halo, pools[at.atoms.pools[q]], 0, at.atoms.sources[q]);
    x[q] = local;
  }
  return x;
}

std::vector<int64_t> Fold::shape(const Crossing& at, size_t p) const {
  return with_rows(at.n_owned[p] + at.atoms.received(p), width());
}

int64_t Fold::received(const Crossing& at) const {
  int64_t total = 0;
  for (const at::Tensor& rows : at.atoms.packed) total += rows.size(0);
  return total;
}

std::shared_ptr<const Exchange> Fold::adjoint() const { return std::make_shared<Halo>(name(), width()); }

std::vector<Parcel> Fold::begin(const Crossing& at, const PerPartition& y) const {
  PerPartition halo;
  for (size_t q = 0; q < y.size(); ++q) halo.push_back(y[q].narrow(0, at.n_owned[q], at.atoms.received(q)));
  return collect(at.atoms, halo);
}

PerPartition Fold::finish(const Crossing& at, PerPartition y, std::vector<Parcel> parcels) const {
  const PerPartition collected = unpack(at.atoms, std::move(parcels));
  for (size_t p = 0; p < y.size(); ++p)
    if (at.atoms.received(p) > 0 || collected[p].size(0) > 0) {
      const at::Tensor owned = y[p].narrow(0, 0, at.n_owned[p]);
      y[p] =
          empty(owned.sizes(), owned.options()).copy_(owned).index_add_(0, at.atoms.packed[p], collected[p]);
    }
  return y;
}

std::vector<int64_t> Add::shape(const Crossing& at, size_t p) const {
  return with_rows(at.n_bonds[p], width());
}

int64_t Add::received(const Crossing& at) const { return at.bonds.received(); }

std::vector<Parcel> Add::begin(const Crossing& at, const PerPartition& x) const { return pack(at.bonds, x); }

PerPartition Add::finish(const Crossing& at, PerPartition x, std::vector<Parcel> parcels) const {
  const auto pools = readable(parcels);
  for (size_t q = 0; q < x.size(); ++q) {
    if (at.bonds.received(q) > 0) {
      const at::Tensor copies = pools[at.bonds.pools[q]].index_select(0, at.bonds.sources[q]);
      x[q] = x[q].index_add(0, at.bonds.packed[q], copies);
    }
  }
  return x;
}

std::vector<int64_t> Swap::shape(const Crossing& at, size_t p) const {
  return with_rows(at.bonds.received(p), width());
}

int64_t Swap::received(const Crossing& at) const { return at.bonds.received(); }

std::vector<Parcel> Swap::begin(const Crossing& at, const PerPartition& x) const {
  return pack_all(at.bonds, x);
}

PerPartition Swap::finish(const Crossing& at, PerPartition x, std::vector<Parcel> parcels) const {
  const auto pools = readable(parcels);
  for (size_t q = 0; q < x.size(); ++q)
    if (at.bonds.received(q) > 0) x[q] = pools[at.bonds.pools[q]].index_select(0, at.bonds.sources[q]);
  return x;
}

std::vector<int64_t> AllSum::shape(const Crossing&, size_t) const { return width(); }

int64_t AllSum::received(const Crossing& at) const { return at.n_partitions() > 1 ? at.n_here : 0; }

/// Every rank sends its sum to all, itself too; in one process every pool the tensors of its partitions.
std::vector<Parcel> AllSum::begin(const Crossing& at, const PerPartition& x) const {
  const at::ScalarType dtype = common_dtype(x);
  std::vector<PerPartition> of_pool(at.atoms.peers.size());
  for (size_t p = 0; p < x.size(); ++p) of_pool[at.atoms.pools[p]].push_back(x[p].to(dtype));
  const auto n_peers = at.ranks != nullptr ? at.ranks->size() : std::ssize(of_pool);
  const auto repeated = [&](const at::Tensor& rows) {
    const std::vector<at::Tensor> all(n_peers, rows);
    return at::cat(all, 0);
  };
  std::vector<Parcel> parcels;
  if (at.ranks != nullptr) {
    const at::Tensor total = sum_of(of_pool.front()).unsqueeze(0);
    const std::vector<int64_t> one_each(n_peers, 1);
    return {{total, repeated(total), {}, one_each, one_each}};
  }
  std::vector<int64_t> counts;
  for (const PerPartition& tensors : of_pool) counts.push_back(std::ssize(tensors));
  for (const PerPartition& tensors : of_pool) {
    const at::Tensor rows = at::stack(tensors);
    parcels.push_back({rows, repeated(rows), rows, std::vector(counts.size(), rows.size(0)), counts});
  }
  return parcels;
}

/// All pools add in the same order, that of partitions, so their sums are the same.
PerPartition AllSum::finish(const Crossing& at, PerPartition x, std::vector<Parcel> parcels) const {
  std::vector<at::Tensor> totals;
  for (const Parcel& parcel : parcels) {
    auto rows = parcel.received.unbind(0);
    if (at.ranks == nullptr) {  // by pool, like the partitions
      std::vector<at::Tensor> in_order;
      std::vector<int64_t> next(parcels.size(), 0);
      std::partial_sum(parcel.receive_counts.begin(), parcel.receive_counts.end() - 1, next.begin() + 1);
      for (const int64_t pool : at.atoms.pools) in_order.push_back(rows[next[pool]++]);
      rows = std::move(in_order);
    }
    totals.push_back(sum_of(rows));
  }
  for (size_t p = 0; p < x.size(); ++p)
    if (x.size() > 1) x[p] = totals[at.atoms.pools[p]].clone();
  return x;
}

}  // namespace distmlip::exchange
