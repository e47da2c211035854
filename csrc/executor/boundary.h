// What crosses partitions between two stages: each kind of exchange and its adjoint, on the plans of one
// step.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "exchange/exchange.h"
#include "exchange/ranks.h"

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
  /// One tensor of every partition; undefined tensors stand for zeros.
  struct Crossing {
    ExchangeSpec spec;
    exchange::PerPartition tensors;
  };

  std::vector<int64_t> n_owned;  ///< atoms of each partition
  std::vector<int64_t> n_bonds;  ///< bonds of each partition
  exchange::RowPlan atoms;
  exchange::RowPlan bonds;     ///< of tensors with one row per cut bond
  exchange::PerPartition cut;  ///< which bonds of each partition these are
  at::ScalarType dtype = at::kDouble;
  exchange::Ranks* ranks = nullptr;  ///< null: all partitions are in this process
  int64_t n_here = 0;                ///< partitions in this process

  size_t n_partitions() const { return n_owned.size(); }

  /// Replaces the tensors by what stages read. All that crosses ranks goes in one message to each.
  void forward(std::vector<Crossing>& all) const;
  /// The adjoint: gradients of what stages read become gradients of what was given.
  void backward(std::vector<Crossing>& all) const;

  /// How many rows all partitions here together receive in `forward`.
  int64_t received(const ExchangeSpec& spec) const;

 private:
  at::Tensor zeros(const ExchangeSpec& spec, size_t p, bool after) const;
  void fill(Crossing& crossing, bool after) const;
  void across_ranks(std::vector<Crossing>& all, bool adjoint) const;
};

}  // namespace distmlip::executor
