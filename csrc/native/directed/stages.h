// Blocks of gated messages of directed edges as stages: M3GNet's and MatterSim's blocks, and those of matgl's
// CHGNet with its line graph (distmlip/models/matgl/native_*.py say what crosses them).
#pragma once

#include <memory>

#include "executor/native_stage.h"
#include "native/directed/parameters.h"

namespace distmlip::native::directed {

template <class T>
struct Block;
template <class T>
struct NodeUpdate;

/// See native/directed/block.h.
template <class T>
class BlockStage final : public executor::NativeStage {
 public:
  /// Throws std::invalid_argument if the parameters do not fit together; so do the other stages.
  explicit BlockStage(const BlockParameters& parameters);

  executor::StageOutput run(const executor::NativeGraph& graph, const executor::Tensors& inputs, bool keep,
                            int n_threads) const override;
  executor::Gradients pull_back(const executor::NativeGraph& graph, const executor::Tensors& inputs,
                                const executor::Tensors& output_gradients, int n_threads) const override;

 private:
  std::shared_ptr<const Block<T>> block_;  ///< pullbacks may outlive the stage
};

/// An update of the line graph's nodes, which are edges before: of this partition, or "crossing".
template <class T>
class NodeStage final : public executor::NativeStage {
 public:
  explicit NodeStage(const NodeStageParameters& parameters);

  executor::StageOutput run(const executor::NativeGraph& graph, const executor::Tensors& inputs, bool keep,
                            int n_threads) const override;
  executor::Gradients pull_back(const executor::NativeGraph& graph, const executor::Tensors& inputs,
                                const executor::Tensors& output_gradients, int n_threads) const override;

 private:
  std::shared_ptr<const NodeUpdate<T>> update_;
};

/// "angle_embedding": what angles are before they are updated.
template <class T>
class AngleStage final : public executor::NativeStage {
 public:
  explicit AngleStage(const AngleBasisParameters& parameters);

  executor::StageOutput run(const executor::NativeGraph& graph, const executor::Tensors& inputs, bool keep,
                            int n_threads) const override;
  executor::Gradients pull_back(const executor::NativeGraph& graph, const executor::Tensors& inputs,
                                const executor::Tensors& output_gradients, int n_threads) const override;
  struct Inside;

 private:
  std::shared_ptr<const Inside> inside_;
};

}  // namespace distmlip::native::directed
