#include "native/directed/stages.h"

#include "native/directed/block.h"
#include "native/directed/node_stage.h"

namespace distmlip::native::directed {
namespace {

/// What may be kept of a stage that is run again for its way back: there is only one at a time. It spares
/// computing the inside a third time.
constexpr int64_t most_kept_again = int64_t{256} << 20;

template <class Run, class Inside>
executor::Gradients pull_back_of(const std::shared_ptr<const Inside>& inside,
                                 const executor::NativeGraph& graph, const executor::Tensors& inputs,
                                 const executor::Tensors& output_gradients, int n_threads) {
  const bool keep = Run::kept_bytes(*inside, graph) <= most_kept_again;
  return Run(inside, graph, inputs, keep, n_threads).backward(output_gradients, n_threads);
}

template <class Run, class Inside>
executor::StageOutput run_of(const std::shared_ptr<const Inside>& inside, const executor::NativeGraph& graph,
                             const executor::Tensors& inputs, bool keep, int n_threads) {
  const auto run = std::make_shared<const Run>(inside, graph, inputs, keep, n_threads);
  if (keep)
    return {run->outputs(), [run](const executor::Tensors& output_gradients, int threads) {
              return run->backward(output_gradients, threads);
            }};
  return {run->outputs(), [inside, graph, inputs](const executor::Tensors& output_gradients, int threads) {
            return pull_back_of<Run>(inside, graph, inputs, output_gradients, threads);
          }};
}

}  // namespace

template <class T>
BlockStage<T>::BlockStage(const BlockParameters& parameters)
    : block_(std::make_shared<const Block<T>>(parameters)) {}

template <class T>
executor::StageOutput BlockStage<T>::run(const executor::NativeGraph& graph, const executor::Tensors& inputs,
                                         bool keep, int n_threads) const {
  return run_of<BlockRun<T>>(block_, graph, inputs, keep, n_threads);
}

template <class T>
executor::Gradients BlockStage<T>::pull_back(const executor::NativeGraph& graph,
                                             const executor::Tensors& inputs,
                                             const executor::Tensors& output_gradients, int n_threads) const {
  return pull_back_of<BlockRun<T>>(block_, graph, inputs, output_gradients, n_threads);
}

template <class T>
NodeStage<T>::NodeStage(const NodeStageParameters& parameters)
    : update_(std::make_shared<const NodeUpdate<T>>(parameters)) {}

template <class T>
executor::StageOutput NodeStage<T>::run(const executor::NativeGraph& graph, const executor::Tensors& inputs,
                                        bool keep, int n_threads) const {
  return run_of<NodeRun<T>>(update_, graph, inputs, keep, n_threads);
}

template <class T>
executor::Gradients NodeStage<T>::pull_back(const executor::NativeGraph& graph,
                                            const executor::Tensors& inputs,
                                            const executor::Tensors& output_gradients, int n_threads) const {
  return pull_back_of<NodeRun<T>>(update_, graph, inputs, output_gradients, n_threads);
}

template class BlockStage<float>;
template class BlockStage<double>;
template class NodeStage<float>;
template class NodeStage<double>;

}  // namespace distmlip::native::directed
