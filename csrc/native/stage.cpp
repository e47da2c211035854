#include "native/stage.h"

#include <memory>
#include <utility>

namespace distmlip::native {

template <class T>
struct Stage<T>::Shared {
  explicit Shared(Program<T> of) : program(std::move(of)), workspaces(program.registers) {}
  const Program<T> program;
  Workspaces<T> workspaces;
};

template <class T>
Stage<T>::Stage(Program<T> program) {
  program.finish();
  shared_ = std::make_shared<Shared>(std::move(program));
}

template <class T>
executor::StageOutput Stage<T>::run(const executor::NativeGraph& graph, const executor::Tensors& inputs,
                                    bool keep, int n_threads) const {
  const auto run =
      std::make_shared<PartitionRun<T>>(shared_->program, shared_->workspaces, graph, inputs, n_threads);
  if (keep || keeps_nothing())
    return {run->forward(true, n_threads),
            [run, shared = shared_](const executor::Tensors& output_gradients, int threads) {
              return run->backward(output_gradients, threads);
            }};
  return {run->forward(false, n_threads),
          [stage = *this, graph, inputs](const executor::Tensors& output_gradients, int threads) {
            return stage.pull_back(graph, inputs, output_gradients, threads);
          }};
}

template <class T>
executor::Gradients Stage<T>::pull_back(const executor::NativeGraph& graph, const executor::Tensors& inputs,
                                        const executor::Tensors& output_gradients, int n_threads) const {
  PartitionRun<T> run(shared_->program, shared_->workspaces, graph, inputs, n_threads);
  return run.backward(output_gradients, n_threads);
}

template <class T>
bool Stage<T>::keeps_nothing() const {
  return shared_->program.keeps_nothing();
}

template class Stage<float>;
template class Stage<double>;

}  // namespace distmlip::native
