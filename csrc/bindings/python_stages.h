// Python stages for the executor: the only place where the sweep and the GIL meet.
#pragma once

#include <pybind11/stl.h>
#include <torch/csrc/utils/pybind.h>

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "executor/native_stage.h"

namespace distmlip::bindings {

/// Of a BondGraph (distmlip/models/local_graph.py); none of None.
std::optional<executor::NativeBonds> native_bonds_of(const pybind11::handle& bonds);

/// Whether what eager stages make on the host is kept for the next ones (exchange/host_tensors.h); at first
/// it is.
void reuse_memory_of_eager_stages(bool wanted);

/// Adapts the Python class `Stage` (distmlip/models/stages.py) to the executor.
class PythonStages : public executor::StageRunner {
 public:
  /// `stages[p]` and `graphs[p]`: the stages and the local graph of partition p.
  PythonStages(pybind11::list stages, pybind11::list graphs);

  executor::StageOutput run(size_t stage, size_t partition, const executor::Tensors& inputs, bool keep,
                            int n_threads) override;
  executor::Gradients pull_back(size_t stage, size_t partition, const executor::Tensors& inputs,
                                executor::Tensors output_gradients, int n_threads) override;
  bool is_native(size_t stage) const override;
  bool keeps_nothing(size_t stage) const override;
  void check_interrupt() override;

  /// Workers may fail together, but only one error can be raised: it also tells of the others.
  void add_others(const pybind11::error_already_set& raised) const;

 private:
  pybind11::object stage_of(size_t stage, size_t partition) const;
  executor::Gradients pull_back(const pybind11::object& pullback, size_t stage, size_t partition,
                                const executor::Tensors& output_gradients);
  void explain(const pybind11::error_already_set& error, size_t stage, size_t partition,
               const char* direction);

  pybind11::list stages_, graphs_;
  std::vector<std::vector<std::shared_ptr<const executor::NativeStage>>> natives_;  // [partition][stage]
  // Of each partition; empty where no stage is native, so that nothing is read of graphs in vain.
  std::vector<executor::NativeGraph> native_graphs_;
  std::vector<std::pair<pybind11::object, pybind11::str>> failures_;  // guarded by the GIL
};

}  // namespace distmlip::bindings
