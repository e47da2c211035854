#include "exchange/exchange.h"

#include <ATen/ATen.h>

#include "exchange/crossing.h"

namespace distmlip::exchange {
namespace {

std::vector<int64_t> with_rows(int64_t n_rows, std::vector<int64_t> width) {
  width.insert(width.begin(), n_rows);
  return width;
}

/// The sum in the order of the tensors, on the device of the first.
at::Tensor sum_of(const std::vector<at::Tensor>& x) {
  at::Tensor total = x[0];
  for (size_t p = 1; p < x.size(); ++p) {
    TORCH_CHECK_VALUE(x[p].sizes() == x[0].sizes(), "the tensor of partition ", p, " has shape ",
                      x[p].sizes(), ", that of partition 0 ", x[0].sizes(), "; they must agree");
    total = total + x[p].to(total.device());
  }
  return total;
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
    const at::Tensor local =
        at::empty(with_rows(n_owned + n_halo, x[q].sizes().slice(1).vec()), x[q].options());
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

int64_t Fold::received(const Crossing& at) const { return at.atoms.received(); }

std::shared_ptr<const Exchange> Fold::adjoint() const { return std::make_shared<Halo>(name(), width()); }

std::vector<Parcel> Fold::begin(const Crossing& at, const PerPartition& y) const {
  PerPartition halo;
  for (size_t q = 0; q < y.size(); ++q) halo.push_back(y[q].narrow(0, at.n_owned[q], at.atoms.received(q)));
  return collect(at.atoms, halo);
}

PerPartition Fold::finish(const Crossing& at, PerPartition y, std::vector<Parcel> parcels) const {
  const PerPartition collected = unpack(at.atoms, std::move(parcels));
  for (size_t p = 0; p < y.size(); ++p)
    if (at.atoms.received(p) > 0 || collected[p].size(0) > 0)
      y[p] = y[p].narrow(0, 0, at.n_owned[p]).index_add(0, at.atoms.packed[p], collected[p]);
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

/// Every rank sends its sum to all, itself too.
std::vector<Parcel> AllSum::begin(const Crossing& at, const PerPartition& x) const {
  const at::Tensor total = sum_of(x).unsqueeze(0);
  if (at.ranks != nullptr) {
    const int64_t n_ranks = at.ranks->size();
    const std::vector<int64_t> one_each(n_ranks, 1);
    auto shape = total.sizes().vec();
    shape[0] = n_ranks;
    return {{total, total.expand(shape), {}, one_each, one_each}};
  }
  const std::vector<int64_t> none(at.atoms.peers.size(), 0);
  const at::Tensor nothing = total.narrow(0, 0, 0);
  return std::vector<Parcel>(none.size(), {total, nothing, nothing, none, none});
}

PerPartition AllSum::finish(const Crossing& at, PerPartition x, std::vector<Parcel> parcels) const {
  const Parcel& parcel = parcels.front();
  const at::Tensor total = at.ranks != nullptr ? sum_of(parcel.received.unbind(0)) : parcel.stays.squeeze(0);
  for (at::Tensor& tensor : x)
    if (x.size() > 1)
      tensor = total.to(tensor.device(), total.scalar_type(), /*non_blocking=*/false, /*copy=*/true);
  return x;
}

}  // namespace distmlip::exchange
