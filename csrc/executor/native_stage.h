// A stage that runs without Python.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

#include "executor/sweep.h"

namespace distmlip::executor {

/// BondGraph of distmlip/models/local_graph.py.
struct NativeBonds {
  at::Tensor edge_bond, bond_edge, short_bonds, angles, cut;
  int64_t n_angles_total = 0;
};

/// What native stages read of a partition's graph (distmlip/models/local_graph.py, LocalGraph); on the host.
struct NativeGraph {
  int64_t n_owned = 0;
  at::Tensor numbers, senders, receivers, vectors;
  std::optional<NativeBonds> bonds = {};  ///< of models with angles
};

/// Immutable: partitions may run it side by side. Results do not depend on the number of threads.
class NativeStage {
 public:
  virtual ~NativeStage() = default;
  /// As StageRunner::run. Throws std::invalid_argument for tensors that do not fit the stage.
  virtual StageOutput run(const NativeGraph& graph, const Tensors& inputs, bool keep,
                          int n_threads) const = 0;
  /// As StageRunner::pull_back.
  virtual Gradients pull_back(const NativeGraph& graph, const Tensors& inputs,
                              const Tensors& output_gradients, int n_threads) const = 0;
  virtual bool keeps_nothing() const { return false; }
};

}  // namespace distmlip::executor
