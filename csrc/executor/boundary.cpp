#include "executor/boundary.h"

#include <ATen/ATen.h>

#include <memory>

#include "executor/rank_crossing.h"

namespace distmlip::executor {

using exchange::PerPartition;
using Kind = ExchangeSpec::Kind;

namespace {

PerPartition local_forward(const Boundary& boundary, const Boundary::Crossing& crossing) {
  switch (crossing.spec.kind) {
    case Kind::halo:
      return exchange::halo(boundary.atoms, crossing.tensors);
    case Kind::add:
      return exchange::add(boundary.bonds, boundary.cut, crossing.tensors);
    case Kind::swap:
      return exchange::swap(boundary.bonds, crossing.tensors);
    case Kind::all_sum:
      return exchange::all_sum(crossing.tensors);
  }
  TORCH_CHECK(false, "unknown kind of exchange");
}

}  // namespace

void Boundary::forward(std::vector<Crossing>& all) const {
  for (Crossing& crossing : all) {
    fill(crossing, /*after=*/false);
  }
  if (ranks != nullptr) {
    across_ranks(all, /*adjoint=*/false);
    return;
  }
  for (Crossing& crossing : all) {
    crossing.tensors = local_forward(*this, crossing);
  }
}

void Boundary::backward(std::vector<Crossing>& all) const {
  for (Crossing& crossing : all) {
    fill(crossing, /*after=*/crossing.spec.kind == Kind::halo);
  }
  if (ranks != nullptr) {
    across_ranks(all, /*adjoint=*/true);
    return;
  }
  for (Crossing& crossing : all) {
    crossing.tensors = crossing.spec.kind == Kind::halo ? exchange::fold(atoms, crossing.tensors)
                                                        : local_forward(*this, crossing);
  }
}

void Boundary::across_ranks(std::vector<Crossing>& all, bool adjoint) const {
  std::vector<std::unique_ptr<RankCrossing>> crossings;
  for (Crossing& crossing : all) {
    crossings.push_back(RankCrossing::make(*this, crossing, adjoint));
  }
  send_together(*ranks, crossings);
  for (size_t k = 0; k < all.size(); ++k) {
    all[k].tensors = crossings[k]->finish();
  }
}

int64_t Boundary::received(const ExchangeSpec& spec) const {
  if (spec.kind == Kind::all_sum) {
    return n_partitions() > 1 ? n_here : 0;
  }
  const auto& plan = spec.kind == Kind::halo ? atoms : bonds;
  int64_t total = 0;
  for (size_t p = 0; p < n_partitions(); ++p) {
    total += plan.received(p);
  }
  return total;
}

at::Tensor Boundary::zeros(const ExchangeSpec& spec, size_t p, bool after) const {
  std::vector<int64_t> shape = spec.width;
  switch (spec.kind) {
    case Kind::halo:
      shape.insert(shape.begin(), n_owned[p] + (after ? atoms.received(p) : 0));
      break;
    case Kind::add:
      shape.insert(shape.begin(), n_bonds[p]);
      break;
    case Kind::swap:
      shape.insert(shape.begin(), bonds.received(p));
      break;
    case Kind::all_sum:
      break;
  }
  return at::zeros(shape, at::TensorOptions(dtype).device(atoms.sources[p].device()));
}

void Boundary::fill(Crossing& crossing, bool after) const {
  for (size_t p = 0; p < crossing.tensors.size(); ++p) {
    if (!crossing.tensors[p].defined()) {
      crossing.tensors[p] = zeros(crossing.spec, p, after);
    }
  }
}

}  // namespace distmlip::executor
