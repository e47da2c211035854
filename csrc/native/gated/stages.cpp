#include "native/gated/stages.h"

#include "kernels/simd.h"
#include "native/gated/block_run.h"

namespace distmlip::native::gated {

template <class T>
BlockStage<T>::BlockStage(const BlockParameters& parameters)
    : block_(std::make_shared<const Block<T>>(parameters)) {}

template <class T>
executor::StageOutput BlockStage<T>::run(const executor::NativeGraph& graph, const executor::Tensors& inputs,
                                         bool keep, int n_threads) const {
  const auto run = std::make_shared<const BlockRun<T>>(block_, graph, inputs, n_threads);
  executor::Tensors outputs = run->outputs(n_threads);
  if (keep)
    return {std::move(outputs), [run](const executor::Tensors& output_gradients, int threads) {
              return run->backward(output_gradients, threads);
            }};
  return {std::move(outputs), [stage = *this, graph, waiting = run->needed_again()](
                                  const executor::Tensors& output_gradients, int threads) {
            return stage.pull_back(graph, waiting, output_gradients, threads);
          }};
}

template <class T>
executor::Gradients BlockStage<T>::pull_back(const executor::NativeGraph& graph,
                                             const executor::Tensors& inputs,
                                             const executor::Tensors& output_gradients, int n_threads) const {
  return BlockRun<T>(block_, graph, inputs, n_threads).backward(output_gradients, n_threads);
}

template <class T>
struct BasisStage<T>::Inside {
  explicit Inside(const BasisParameters& parameters)
      : bases(kernels::irreps::operators<T>(kernels::simd()), parameters) {}
  Bases<T> bases;
};

template <class T>
BasisStage<T>::BasisStage(const BasisParameters& parameters)
    : inside_(std::make_unique<const Inside>(parameters)) {}
template <class T>
BasisStage<T>::~BasisStage() = default;

template <class T>
executor::StageOutput BasisStage<T>::run(const executor::NativeGraph& graph, const executor::Tensors&, bool,
                                         int n_threads) const {
  const BasisRows rows = inside_->bases.rows(Topology(graph), graph.vectors, true, n_threads);
  return {{{"bond_basis", rows.bonds}, {"short_basis", rows.short_bonds}, {"angle_basis", rows.angles}},
          [](const executor::Tensors&, int) { return executor::Gradients{}; }};
}

template class BlockStage<float>;
template class BlockStage<double>;
template class BasisStage<float>;
template class BasisStage<double>;

}  // namespace distmlip::native::gated
