// What crosses partitions between two stages: each kind of exchange and its adjoint, on the plans of one
// step.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "exchange/exchange.h"

namespace distmlip::executor {

/// An exchange that a stage asks for (distmlip/models/interface.py says what each kind does).
struct ExchangeSpec {
  enum class Kind { halo, add, swap, all_sum };
  Kind kind;
  std::string name;            ///< of the tensor
  std::vector<int64_t> width;  ///< of a row; of all_sum the whole shape
};

/// Sizes and plans of the partitions; what a partition without rows takes part with follows from them.
struct Boundary {
  std::vector<int64_t> n_owned;  ///< atoms of each partition
  std::vector<int64_t> n_bonds;  ///< bonds of each partition
  exchange::RowPlan atoms;
  exchange::RowPlan bonds;     ///< of tensors with one row per cut bond
  exchange::PerPartition cut;  ///< which bonds of each partition these are
  at::ScalarType dtype = at::kDouble;

  size_t n_partitions() const { return n_owned.size(); }

  /// Undefined tensors stand for zeros.
  exchange::PerPartition forward(const ExchangeSpec& spec, exchange::PerPartition x) const;
  exchange::PerPartition backward(const ExchangeSpec& spec, exchange::PerPartition gradients) const;

  /// How many rows all partitions together receive in `forward`.
  int64_t received(const ExchangeSpec& spec) const;

 private:
  at::Tensor zeros(const ExchangeSpec& spec, size_t p, bool after) const;
  void fill(const ExchangeSpec& spec, exchange::PerPartition& tensors, bool after) const;
};

}  // namespace distmlip::executor
