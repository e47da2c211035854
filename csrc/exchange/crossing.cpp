#include "exchange/crossing.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <utility>

#include "exchange/messages.h"

namespace distmlip::exchange {
namespace {

/// Zeros where there is nothing. Throws c10::ValueError if the tensors do not fit the routes.
void complete(const Crossing& crossing, const Exchange& exchange, PerPartition& x) {
  const size_t n = crossing.n_partitions();
  TORCH_CHECK_VALUE(x.size() == n, "there are ", n, " partitions, but ", x.size(),
                    " tensors were given; give one tensor per partition");
  for (size_t p = 0; p < n; ++p) {
    if (!x[p].defined()) {
      x[p] = exchange.zeros(crossing, p);
      continue;
    }
    const auto shape = exchange.shape(crossing, p);
    const bool has_rows = shape.size() > exchange.width().size();
    TORCH_CHECK_VALUE(!has_rows || (x[p].dim() > 0 && x[p].size(0) == shape[0]), "the tensor of partition ",
                      p, " must have ", shape[0], " rows, but its shape is ", x[p].sizes());
    const at::Device device = crossing.atoms.sources[p].device();
    TORCH_CHECK_VALUE(x[p].device() == device, "the tensor of partition ", p,
                      " must be where its graph is; it is on ", x[p].device(), ", the graph is on ", device);
  }
}

}  // namespace

std::vector<PerPartition> Crossing::cross(const Exchanges& exchanges,
                                          std::vector<PerPartition> tensors) const {
  const at::NoGradGuard gradients_are_the_adjoints;
  std::vector<std::vector<Parcel>> parcels;
  for (size_t k = 0; k < exchanges.size(); ++k) {
    complete(*this, *exchanges[k], tensors.at(k));
    parcels.push_back(exchanges[k]->begin(*this, tensors[k]));
  }
  send(parcels, ranks.get());
  for (size_t k = 0; k < exchanges.size(); ++k)
    tensors[k] = exchanges[k]->finish(*this, std::move(tensors[k]), std::move(parcels[k]));
  return tensors;
}

}  // namespace distmlip::exchange
