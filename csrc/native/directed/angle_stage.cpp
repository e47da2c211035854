#include <cmath>

#include "kernels/simd.h"
#include "native/directed/length_tables.h"
#include "native/directed/line_graph.h"
#include "native/directed/stages.h"
#include "native/given.h"

namespace distmlip::native::directed {

using gated::Projection;

template <class T>
struct AngleStage<T>::Inside {
  explicit Inside(const AngleBasisParameters& parameters)
      : operators(kernels::irreps::operators<T>(kernels::simd())),
        frequencies(parameters.frequencies),
        embedding(operators, parameters.embedding),
        most(1 - parameters.margin) {
    frequencies.resize(static_cast<size_t>(kernels::irreps::padded(static_cast<int>(frequencies.size()))),
                       0.0);
    if (2 * std::ssize(frequencies) != embedding.inputs())
      invalid("an embedding of ", embedding.inputs(), " functions of angles, of ", 2 * frequencies.size());
  }
  int n() const { return static_cast<int>(frequencies.size()); }

  const Operators<T>& operators;
  std::vector<double> frequencies;
  Projection<T> embedding;
  double most;  ///< largest cosine
};

namespace {

/// Two edges, and the angle between them.
struct Bend {
  template <class T>
  Bend(const T* a, const T* b, double most) : lengths{length_of(a), length_of(b)} {
    double dot = 0;
    for (int k = 0; k < 3; ++k) dot += static_cast<double>(a[k]) * static_cast<double>(b[k]);
    cosine = dot / (lengths[0] * lengths[1]);
    is_bent = std::abs(cosine) <= most;
    angle = std::acos(std::clamp(cosine, -most, most));
  }
  double lengths[2], cosine, angle;
  bool is_bent;  ///< else the angle is kept where it is
};

/// work(first, n, bends, vectors' places) for blocks of angles.
template <class T, class Work>
void in_blocks(const executor::NativeGraph& graph, double most, int n_threads, Work work) {
  const EdgeTopology topology(graph);
  const LineGraph line(graph, topology);
  const auto* vectors = graph.vectors.const_data_ptr<T>();
  Projection<T>::in_stretches(line.n_angles(), n_threads, [&](int64_t from, int64_t count) {
    std::vector<Bend> bends;
    for (int64_t first = from; first < from + count; first += rows_per_block) {
      const auto n = static_cast<int>(std::min<int64_t>(rows_per_block, from + count - first));
      bends.clear();
      for (int64_t a = first; a < first + n; ++a) {
        const auto& [e, f] = line.angles[static_cast<size_t>(a)].edges;
        bends.emplace_back(vectors + 3 * static_cast<int64_t>(e), vectors + 3 * static_cast<int64_t>(f),
                           most);
      }
      work(first, n, bends);
    }
  });
}

}  // namespace

template <class T>
AngleStage<T>::AngleStage(const AngleBasisParameters& parameters)
    : inside_(std::make_shared<const Inside>(parameters)) {}

template <class T>
executor::StageOutput AngleStage<T>::run(const executor::NativeGraph& graph, const executor::Tensors& inputs,
                                         bool /*keep*/, int n_threads) const {
  const Given<T> given(graph.vectors, inputs);
  if (!graph.bonds) invalid("the graph has no bonds");
  const int n_basis = inside_->n(), width = inside_->embedding.outputs();
  at::Tensor rows = given.empty(graph.bonds->angles.numel() / 2, width);
  T* to = Given<T>::data(rows);
  in_blocks<T>(graph, inside_->most, n_threads, [&](int64_t first, int n, const std::vector<Bend>& bends) {
    Buffer<T> basis(static_cast<size_t>(rows_per_block * 4 * n_basis + slack));
    std::array<double, rows_per_block> angles;
    for (size_t k = 0; k < static_cast<size_t>(n); ++k) angles[k] = bends[k].angle;
    inside_->operators.gated.fourier(n, n_basis, angles.data(), inside_->frequencies.data(), basis.data());
    inside_->embedding.apply(n, {basis.data(), 4 * n_basis}, {to + first * width, width});
  });
  return {{{"angle_embedding", rows}},
          [stage = *this, graph](const executor::Tensors& output_gradients, int threads) {
            return stage.pull_back(graph, {}, output_gradients, threads);
          }};
}

template <class T>
executor::Gradients AngleStage<T>::pull_back(const executor::NativeGraph& graph, const executor::Tensors&,
                                             const executor::Tensors& output_gradients, int n_threads) const {
  const Given<T> given(graph.vectors, output_gradients);
  if (!graph.bonds) invalid("the graph has no bonds");
  const int n_basis = inside_->n(), width = inside_->embedding.outputs();
  const int64_t n_angles = graph.bonds->angles.numel() / 2;
  at::Tensor of_vectors = given.zeros(graph.senders.numel(), 3);
  const T* of_angles = given.rows_or_null("angle_embedding", n_angles, width);
  if (of_angles == nullptr) return {{}, of_vectors};
  std::vector<double> by_cosine(static_cast<size_t>(n_angles));
  in_blocks<T>(graph, inside_->most, n_threads, [&](int64_t first, int n, const std::vector<Bend>& bends) {
    Buffer<T> basis(static_cast<size_t>(rows_per_block * 4 * n_basis + slack)),
        slopes(static_cast<size_t>(rows_per_block * width + slack));
    std::array<double, rows_per_block> angles;
    std::array<T, rows_per_block> by_angle{};
    for (size_t k = 0; k < static_cast<size_t>(n); ++k) angles[k] = bends[k].angle;
    inside_->operators.gated.fourier(n, n_basis, angles.data(), inside_->frequencies.data(), basis.data());
    inside_->embedding.apply(n, {basis.data() + 2 * n_basis, 4 * n_basis}, {slopes.data(), width});
    inside_->operators.gated.add_dots(n, width, of_angles + first * width, width, slopes.data(), width,
                                      by_angle.data());
    for (size_t k = 0; k < static_cast<size_t>(n); ++k)
      by_cosine[static_cast<size_t>(first) + k] =
          bends[k].is_bent
              ? -static_cast<double>(by_angle[k]) / std::sqrt((1 - bends[k].cosine) * (1 + bends[k].cosine))
              : 0;
  });
  T* to = Given<T>::data(of_vectors);
  const auto* v = graph.vectors.const_data_ptr<T>();
  const LineGraph line(graph, EdgeTopology(graph));
  for (size_t a = 0; a < by_cosine.size(); ++a) {
    const int64_t e = 3 * static_cast<int64_t>(line.angles[a].edges[0]),
                  f = 3 * static_cast<int64_t>(line.angles[a].edges[1]);
    const Bend bend(v + e, v + f, inside_->most);
    for (int64_t k = 0; k < 3; ++k) {
      const double first = static_cast<double>(v[e + k]) / bend.lengths[0],
                   second = static_cast<double>(v[f + k]) / bend.lengths[1];
      to[e + k] += static_cast<T>(by_cosine[a] / bend.lengths[0] * (second - bend.cosine * first));
      to[f + k] += static_cast<T>(by_cosine[a] / bend.lengths[1] * (first - bend.cosine * second));
    }
  }
  return {{}, of_vectors};
}

template class AngleStage<float>;
template class AngleStage<double>;

}  // namespace distmlip::native::directed
