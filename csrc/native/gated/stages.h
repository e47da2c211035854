// Blocks of gated messages as stages (distmlip/models/chgnet/native.py says what crosses them).
#pragma once

#include <memory>

#include "native/gated/parameters.h"
#include "native/gated/topology.h"

namespace distmlip::native::gated {

template <class T>
class Block;

/// Updates bonds by the messages of the block before, then atoms by those of edges, then sends messages of
/// angles to bonds.
template <class T>
class BlockStage final : public executor::NativeStage {
 public:
  /// Throws std::invalid_argument if the parameters do not fit together.
  explicit BlockStage(const BlockParameters& parameters);

  executor::StageOutput run(const executor::NativeGraph& graph, const executor::Tensors& inputs, bool keep,
                            int n_threads) const override;
  executor::Gradients pull_back(const executor::NativeGraph& graph, const executor::Tensors& inputs,
                                const executor::Tensors& output_gradients, int n_threads) const override;

 private:
  std::shared_ptr<const Block<T>> block_;  ///< pullbacks may outlive the stage
};

/// The bases of all blocks, where they are to be computed once. Has no gradients: blocks go back to vectors.
template <class T>
class BasisStage final : public executor::NativeStage {
 public:
  explicit BasisStage(const BasisParameters& parameters);
  ~BasisStage() override;

  executor::StageOutput run(const executor::NativeGraph& graph, const executor::Tensors& inputs, bool keep,
                            int n_threads) const override;
  executor::Gradients pull_back(const executor::NativeGraph&, const executor::Tensors&,
                                const executor::Tensors&, int) const override {
    return {};
  }
  bool keeps_nothing() const override { return true; }

 private:
  struct Inside;
  std::unique_ptr<const Inside> inside_;
};

}  // namespace distmlip::native::gated
