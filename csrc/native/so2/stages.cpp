#include "native/so2/stages.h"

#include "kernels/simd.h"
#include "native/given.h"
#include "native/so2/convolution.h"
#include "native/so2/degree_embedding.h"

namespace distmlip::native::so2 {
namespace {

using executor::Gradients;
using executor::NativeGraph;
using executor::StageOutput;
using executor::Tensors;

constexpr const char *atoms_name = "normed", *kept_name = "kept";

const at::Tensor& kept_of(const Tensors& inputs) {
  const auto found = inputs.find(kept_name);
  if (found == inputs.end()) invalid("there is no '", kept_name, "'");
  return found->second;
}

/// All but the indices of kept edges, which are no numbers of the stage.
Tensors without_kept(Tensors inputs) {
  inputs.erase(kept_name);
  return inputs;
}

template <class T>
at::Tensor rows_of(const Given<T>& given, int64_t n, const Edges<T>& edges) {
  const int64_t n_rows = edges.n_rows(0), channels = edges.channels();
  return given.empty(n, n_rows * channels).view({n, n_rows, channels});
}

/// One convolution on a partition.
template <class T>
class ConvolutionRun {
 public:
  ConvolutionRun(std::shared_ptr<const Convolution<T>> convolution, std::shared_ptr<const Layers<T>> layers,
                 const NativeGraph& graph, const Tensors& inputs)
      : convolution_(std::move(convolution)),
        layers_(std::move(layers)),
        given_(graph.vectors, without_kept(inputs)),
        vectors_(graph.vectors),
        kept_edges_(graph, kept_of(inputs), convolution_->edges().numbers()) {
    if (layers_ == nullptr) invalid("the convolution has no layers yet");
  }

  Tensors forward(bool keep, int n_threads) {
    if (keep) kept_ = given_.empty(std::ssize(kept_edges_.edges), convolution_->kept_per_edge());
    at::Tensor messages = rows_of(given_, n_owned(), convolution_->edges());
    convolution_->forward(input(), Given<T>::data(messages), n_threads);
    return {{"messages", messages}};
  }

  Gradients backward(const Tensors& output_gradients, int n_threads) {
    const Given<T> given(vectors_, output_gradients);
    const Edges<T>& edges = convolution_->edges();
    const int64_t n_local = kept_edges_.topology.n_local;
    at::Tensor by_atoms = rows_of(given_, n_local, edges), by_vectors = given_.zeros(vectors_.size(0), 3);
    std::fill_n(Given<T>::data(by_atoms), by_atoms.numel(), T(0));
    convolution_->backward(input(), given.rows("messages", n_owned(), edges.row_size()),
                           Given<T>::data(by_atoms), Given<T>::data(by_vectors), n_threads);
    return {{{atoms_name, by_atoms}}, by_vectors};
  }

 private:
  int64_t n_owned() const { return kept_edges_.topology.n_owned; }
  typename Convolution<T>::Input input() {
    return {kept_edges_, *layers_,
            given_.rows(atoms_name, kept_edges_.topology.n_local, convolution_->edges().row_size()),
            kept_.defined() ? Given<T>::data(kept_) : nullptr};
  }

  std::shared_ptr<const Convolution<T>> convolution_;
  std::shared_ptr<const Layers<T>> layers_;
  Given<T> given_;
  at::Tensor vectors_, kept_;
  KeptEdges<T> kept_edges_;
};

template <class T>
class ConvolutionOf final : public ConvolutionStage {
 public:
  explicit ConvolutionOf(const ConvolutionParameters& parameters)
      : operators_(kernels::irreps::operators<T>(kernels::simd())),
        convolution_(std::make_shared<const Convolution<T>>(operators_, parameters)) {}

  void use(const LayerParameters& layers) override {
    auto packed = std::make_shared<const Layers<T>>(operators_, convolution_->shape(), layers);
    const std::lock_guard lock(mutex_);
    layers_ = std::move(packed);
  }

  StageOutput run(const NativeGraph& graph, const Tensors& inputs, bool keep, int n_threads) const override {
    const auto layers = now();
    const auto run = std::make_shared<ConvolutionRun<T>>(convolution_, layers, graph, inputs);
    Tensors outputs = run->forward(keep, n_threads);
    return {std::move(outputs),
            [run](const Tensors& gradients, int threads) { return run->backward(gradients, threads); }};
  }

  Gradients pull_back(const NativeGraph& graph, const Tensors& inputs, const Tensors& output_gradients,
                      int n_threads) const override {
    return ConvolutionRun<T>(convolution_, now(), graph, inputs).backward(output_gradients, n_threads);
  }

 private:
  std::shared_ptr<const Layers<T>> now() const {
    const std::lock_guard lock(mutex_);
    return layers_;
  }

  const Operators<T>& operators_;
  std::shared_ptr<const Convolution<T>> convolution_;
  mutable std::mutex mutex_;
  std::shared_ptr<const Layers<T>> layers_;
};

template <class T>
class DegreeStage final : public executor::NativeStage {
 public:
  explicit DegreeStage(const EdgeParameters& parameters)
      : embedding_(std::make_shared<const DegreeEmbedding<T>>(kernels::irreps::operators<T>(kernels::simd()),
                                                              parameters)) {}

  StageOutput run(const NativeGraph& graph, const Tensors& inputs, bool /*keep*/,
                  int n_threads) const override {
    const Given<T> given(graph.vectors, {});
    const KeptEdges<T> kept(graph, kept_of(inputs), embedding_->edges().numbers());
    at::Tensor degrees = rows_of(given, kept.topology.n_owned, embedding_->edges());
    embedding_->forward(kept, Given<T>::data(degrees), n_threads);
    return {{{"degrees", degrees}},
            [embedding = embedding_, graph, inputs](const Tensors& gradients, int threads) {
              return back(*embedding, graph, inputs, gradients, threads);
            }};
  }

  Gradients pull_back(const NativeGraph& graph, const Tensors& inputs, const Tensors& output_gradients,
                      int n_threads) const override {
    return back(*embedding_, graph, inputs, output_gradients, n_threads);
  }

 private:
  static Gradients back(const DegreeEmbedding<T>& embedding, const NativeGraph& graph, const Tensors& inputs,
                        const Tensors& output_gradients, int n_threads) {
    const Given<T> given(graph.vectors, output_gradients);
    const KeptEdges<T> kept(graph, kept_of(inputs), embedding.edges().numbers());
    at::Tensor by_vectors = given.zeros(kept.topology.n_edges, 3);
    embedding.backward(kept, given.rows("degrees", kept.topology.n_owned, embedding.edges().row_size()),
                       Given<T>::data(by_vectors), n_threads);
    return {{}, by_vectors};
  }

  std::shared_ptr<const DegreeEmbedding<T>> embedding_;
};

}  // namespace

std::shared_ptr<ConvolutionStage> convolution_stage(bool is_double, const ConvolutionParameters& parameters) {
  if (is_double) return std::make_shared<ConvolutionOf<double>>(parameters);
  return std::make_shared<ConvolutionOf<float>>(parameters);
}

std::shared_ptr<executor::NativeStage> degree_stage(bool is_double, const EdgeParameters& parameters) {
  if (is_double) return std::make_shared<DegreeStage<double>>(parameters);
  return std::make_shared<DegreeStage<float>>(parameters);
}

}  // namespace distmlip::native::so2
