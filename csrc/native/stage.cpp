#include "native/stage.h"

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
  const auto start = [shared = shared_, graph, inputs](int threads) {
    return std::make_shared<PartitionRun<T>>(shared->program, shared->workspaces, graph, inputs, threads);
  };
  std::shared_ptr<PartitionRun<T>> run = start(n_threads);
  executor::Tensors outputs = run->forward(keep, n_threads);
  if (!keep) run = nullptr;
  return {std::move(outputs),
          [run, start, shared = shared_](executor::Tensors output_gradients, int threads) {
            if (run) return run->backward(output_gradients, threads);
            const auto again = start(threads);
            again->forward(true, threads);
            return again->backward(output_gradients, threads);
          }};
}

template class Stage<float>;
template class Stage<double>;

}  // namespace distmlip::native
