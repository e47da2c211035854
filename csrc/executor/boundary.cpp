#include "executor/boundary.h"

#include <ATen/ATen.h>

namespace distmlip::executor {

using exchange::PerPartition;
using Kind = ExchangeSpec::Kind;

PerPartition Boundary::forward(const ExchangeSpec& spec, PerPartition x) const {
  fill(spec, x, /*after=*/false);
  switch (spec.kind) {
    case Kind::halo:
      return exchange::halo(atoms, x);
    case Kind::add:
      return exchange::add(bonds, cut, x);
    case Kind::swap:
      return exchange::swap(bonds, x);
    case Kind::all_sum:
      return exchange::all_sum(x);
  }
  TORCH_CHECK(false, "unknown kind of exchange");
}

PerPartition Boundary::backward(const ExchangeSpec& spec, PerPartition gradients) const {
  if (spec.kind != Kind::halo) {
    return forward(spec, std::move(gradients));  // its own adjoint
  }
  fill(spec, gradients, /*after=*/true);
  return exchange::fold(atoms, gradients);
}

int64_t Boundary::received(const ExchangeSpec& spec) const {
  if (spec.kind == Kind::all_sum) {
    return n_partitions() > 1 ? static_cast<int64_t>(n_partitions()) : 0;
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

void Boundary::fill(const ExchangeSpec& spec, PerPartition& tensors, bool after) const {
  for (size_t p = 0; p < tensors.size(); ++p) {
    if (!tensors[p].defined()) {
      tensors[p] = zeros(spec, p, after);
    }
  }
}

}  // namespace distmlip::executor
