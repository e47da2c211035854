// A stage made of operators in C++.
#pragma once

#include <memory>

#include "native/partition_run.h"

namespace distmlip::native {

template <class T>
class Stage final : public executor::NativeStage {
 public:
  explicit Stage(Program<T> program);

  executor::StageOutput run(const executor::NativeGraph& graph, const executor::Tensors& inputs, bool keep,
                            int n_threads) const override;
  executor::Gradients pull_back(const executor::NativeGraph& graph, const executor::Tensors& inputs,
                                const executor::Tensors& output_gradients, int n_threads) const override;
  bool keeps_nothing() const override;

 private:
  struct Shared;
  std::shared_ptr<Shared> shared_;  ///< pullbacks may outlive the stage
};

}  // namespace distmlip::native
