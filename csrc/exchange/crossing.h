// What crosses partitions between two stages, inside a process and between ranks alike.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "exchange/exchange.h"
#include "exchange/group.h"
#include "exchange/routes.h"

namespace distmlip::exchange {

/// The rows of all partitions at one step, and the routes between them.
struct Crossing {
  std::vector<int64_t> n_owned;  ///< atoms of each partition
  std::vector<int64_t> n_bonds;  ///< bonds of each partition
  Routes atoms;
  Routes bonds;  ///< of cut bonds: packed are the rows of bonds that have a copy
  at::ScalarType dtype = at::kDouble;
  std::shared_ptr<RankGroup> ranks;  ///< null: all partitions are in this process
  int64_t n_here = 0;                ///< partitions in this process

  size_t n_partitions() const { return n_owned.size(); }

  /// What exchange k makes of tensors[k]; undefined tensors stand for zeros. Rows that go from one device to
  /// another, or to another rank, go in one message for all exchanges. Records no gradients:
  /// Exchange::adjoint() makes them. Throws c10::ValueError if tensors do not fit, c10::TypeError if those
  /// for other ranks differ in dtype.
  std::vector<PerPartition> cross(const Exchanges& exchanges, std::vector<PerPartition> tensors) const;
};

}  // namespace distmlip::exchange
