// The local graphs of one evaluation as tensors on the devices, and forces from the gradients of their edges.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "exchange/exchange.h"
#include "partition/decomposition.h"

namespace distmlip::executor {

/// One partition's graph on its device (distmlip/models/interface.py, LocalGraph and BondGraph).
struct LocalTensors {
  at::Tensor senders, receivers;                 ///< (n_edges,) int64
  at::Tensor vectors;                            ///< (n_edges, 3) in the model's dtype
  at::Tensor edge_bond, bond_edge, angles, cut;  ///< undefined without a bond cutoff
};

struct Forces {
  at::Tensor forces;   ///< (n_atoms, 3) float64
  at::Tensor virials;  ///< (n_atoms, 3, 3) float64, symmetric; their sum is -dE/dstrain
};

/// A decomposition at given positions. Each `update` replaces the tensors; those handed out stay valid.
class Step {
 public:
  /// `devices`: one per partition.
  Step(std::shared_ptr<const partition::Decomposition> decomposition, std::vector<at::Device> devices,
       at::ScalarType dtype);

  /// `positions`: n_atoms x 3, for which the decomposition is still valid.
  void update(const double* positions);

  const std::vector<LocalTensors>& parts() const { return parts_; }
  const exchange::RowPlan& atoms() const { return atoms_; }
  const exchange::RowPlan& bonds() const { return bonds_; }
  std::vector<int64_t> n_owned() const;
  std::vector<int64_t> n_bonds() const;

  /// From dE/dvector of every partition; undefined gradients are zero.
  Forces forces(const exchange::PerPartition& edge_gradients) const;

 private:
  LocalTensors tensors_of(size_t p) const;
  exchange::RowPlan bond_plan() const;

  std::shared_ptr<const partition::Decomposition> decomposition_;
  std::vector<at::Device> devices_;
  at::ScalarType dtype_;
  std::vector<double> wrapped_;
  std::vector<partition::StepGraph> graphs_;
  std::vector<LocalTensors> parts_;
  exchange::RowPlan atoms_, bonds_;
};

}  // namespace distmlip::executor
