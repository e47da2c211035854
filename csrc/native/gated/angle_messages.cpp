#include "native/gated/angle_messages.h"

#include <array>

#include "native/gated/matrices.h"

namespace distmlip::native::gated {

template <class T>
AngleLayer<T>::AngleLayer(const Operators<T>& operators, const AngleParameters& parameters, int channels)
    : sums(parameters.first.columns),
      bonds(operators, side_by_side(parameters.first, parameters.second).view()),
      centres(operators, parameters.centres, parameters.bias),
      angles(operators, parameters.angles),
      perceptron(operators, parameters.perceptron, channels, sums) {
  for (const auto& [matrix, name] : {std::pair(&parameters.first, "first"),
                                     {&parameters.second, "second"},
                                     {&parameters.centres, "centres"},
                                     {&parameters.angles, "angles"}})
    require(*matrix, channels, sums, name);
}

/// What there is to do on a partition.
template <class T>
struct AngleMessages<T>::Work {
  const Topology& topology;
  const AngleInput<T>& input;
  T* messages;                         ///< on the way forward
  const AngleGradients<T>* gradients;  ///< null: the way forward
  std::vector<Table<T>> of_bonds, of_centres;
  int64_t n_chunks;
};

/// Of one thread.
template <class T>
struct AngleMessages<T>::Memory {
  Memory(const AngleMessages& of) {
    const auto buffer = [](int rows, int width) {
      return Buffer<T>(static_cast<size_t>(rows * width + slack));
    };
    for (const AngleLayer<T>& layer : of.layers_) {
      perceptrons.push_back(layer.perceptron.memory());
      widest = std::max(widest, layer.sums);
    }
    for (Buffer<T>* of_pairs : {&projected, &tangents, &projected_gradients})
      *of_pairs = buffer(items_per_block, of.of_basis_.outputs());
    for (Buffer<T>* of_rows : {&angles, &angle_gradients}) *of_rows = buffer(rows_per_block, of.channels_);
    sums = buffer(rows_per_block, widest);
  }
  std::vector<typename Perceptron<T>::Memory> perceptrons;  ///< of each layer
  int widest = 0;
  Buffer<T> projected, tangents, projected_gradients;  ///< of each pair, by the basis
  Buffer<T> angles, angle_gradients, sums;             ///< of each angle: rows 2 p and 2 p + 1 of a pair
  Share<T> bonds, centres;
  std::array<const T*, 4 * rows_per_block> sources;
  std::array<T*, 4 * rows_per_block> targets;
  std::array<const T*, 2 * rows_per_block> weights;
  std::array<T*, 2 * rows_per_block> weight_gradients;
  std::array<const T*, rows_per_block> given;
};

template <class T>
AngleMessages<T>::AngleMessages(const Operators<T>& operators, const BlockParameters& parameters)
    : operators_(operators), channels_(parameters.channels) {
  for (const AngleParameters& update : parameters.angles) layers_.emplace_back(operators, update, channels_);
  layers_.emplace_back(operators, *parameters.bonds, channels_);
  const bool any = !parameters.angles.empty();
  const Matrix& embedding = parameters.basis.angle_embedding;
  const OwnMatrix sums =
      product(embedding, any ? parameters.angles.front().angles : parameters.bonds->angles);
  of_basis_ = Projection<T>(operators, any ? side_by_side(embedding, sums.view()).view() : sums.view());
}

template <class T>
void AngleMessages<T>::forward(const Topology& topology, const AngleInput<T>& input, T* messages,
                               int n_threads) const {
  Work work{topology, input, messages, nullptr, {{messages, channels_}}, {}, chunks_of(topology.n_owned)};
  run(work, n_threads);
}

template <class T>
void AngleMessages<T>::backward(const Topology& topology, const AngleInput<T>& input,
                                const AngleGradients<T>& gradients, int n_threads) const {
  Work work{topology, input, nullptr, &gradients, {}, {}, chunks_of(topology.n_owned)};
  for (size_t k = 0; k < layers_.size(); ++k) {
    work.of_bonds.push_back({gradients.layers[k].bonds, 2 * layers_[k].sums});
    work.of_centres.push_back({gradients.layers[k].centres, layers_[k].sums});
  }
  work.of_bonds.push_back({gradients.weights, channels_});
  std::fill_n(gradients.by_angle, topology.pairs.size(), T(0));
  run(work, n_threads);
}

template <class T>
void AngleMessages<T>::run(Work& work, int n_threads) const {
  std::vector<Memory> memories(static_cast<size_t>(std::min(work.n_chunks, chunks_at_a_time)), Memory(*this));
  in_chunks(
      work.n_chunks, n_threads, [&](int64_t k, size_t slot) { chunk(work, k, memories[slot]); },
      [&](size_t slot) {
        memories[slot].bonds.add_to(work.of_bonds);
        memories[slot].centres.add_to(work.of_centres);
      });
}

template <class T>
void AngleMessages<T>::chunk(Work& work, int64_t chunk, Memory& memory) const {
  const Topology& topology = work.topology;
  const Stretch pairs = stretch_of(chunk, work.n_chunks, std::ssize(topology.pairs));
  memory.bonds.open(topology.n_short);
  memory.centres.open(topology.n_owned);
  for (int64_t p = pairs.first; p < pairs.last; ++p) {
    const Pair& pair = topology.pairs[static_cast<size_t>(p)];
    for (const int32_t bond : pair.bonds) memory.bonds.touch(bond);
    if (!work.of_centres.empty()) memory.centres.touch(pair.centre);
  }
  memory.bonds.clear(work.of_bonds);
  memory.centres.clear(work.of_centres);
  for (int64_t p = pairs.first; p < pairs.last; p += items_per_block)
    block(work, memory, p, static_cast<int>(std::min<int64_t>(items_per_block, pairs.last - p)));
}

template <class T>
void AngleMessages<T>::block(Work& work, Memory& memory, int64_t first, int n) const {
  const bool keep = work.gradients != nullptr;
  const Rows<const T> basis{work.input.basis.at(first), work.input.basis.stride};
  const int width = of_basis_.outputs();
  of_basis_.apply(n, basis, {memory.projected.data(), width});
  if (keep)
    of_basis_.apply(n, {basis.data + basis.stride / 2, basis.stride}, {memory.tangents.data(), width});
  for (int row = 0; row < 2 * n && n_layers() > 1; ++row)
    std::copy_n(memory.projected.data() + row / 2 * width, channels_, memory.angles.data() + row * channels_);
  for (size_t layer = 0; layer < layers_.size(); ++layer) evaluate(work, memory, first, n, layer, keep);
  for (size_t row = 0; row < static_cast<size_t>(2 * n); ++row) {
    const Pair& pair = work.topology.pairs[static_cast<size_t>(first) + row / 2];
    const int32_t receiving = pair.bonds[row % 2], other = pair.bonds[1 - row % 2];
    memory.weights[2 * row] = work.input.weights + static_cast<int64_t>(receiving) * channels_;
    memory.weights[2 * row + 1] = work.input.weights + static_cast<int64_t>(other) * channels_;
    if (!keep) memory.targets[row] = memory.bonds.row(work.of_bonds, 0, receiving);
  }
  if (keep) return back(work, memory, first, n);
  operators_.gated.weigh(2 * n, channels_, memory.perceptrons.back().out.data(), memory.weights.data(),
                         memory.targets.data());
}

/// The layer's output for the angles of some pairs; that of an update is added to the angles.
template <class T>
void AngleMessages<T>::evaluate(const Work& work, Memory& memory, int64_t first, int n, size_t layer,
                                bool keep) const {
  const AngleLayer<T>& of = layers_[layer];
  const AngleTables<T>& tables = work.input.layers[layer];
  typename Perceptron<T>::Memory& inside = memory.perceptrons[layer];
  const int width = of_basis_.outputs(), n_rows = 2 * n;
  if (layer > 0) of.angles.apply(n_rows, {memory.angles.data(), channels_}, {memory.sums.data(), of.sums});
  for (int row = 0; row < n_rows; ++row) {
    const Pair& pair = work.topology.pairs[static_cast<size_t>(first + row / 2)];
    const auto order = static_cast<size_t>(row % 2);
    const T** sources = memory.sources.data() + 4 * row;
    sources[0] = tables.bonds + static_cast<int64_t>(pair.bonds[order]) * 2 * of.sums;
    sources[1] = tables.bonds + static_cast<int64_t>(pair.bonds[1 - order]) * 2 * of.sums + of.sums;
    sources[2] = tables.centres + static_cast<int64_t>(pair.centre) * of.sums;
    sources[3] = layer > 0 ? memory.sums.data() + row * of.sums
                           : memory.projected.data() + row / 2 * width + (width - of.sums);
  }
  of.perceptron.forward(n_rows, 4, memory.sources.data(), inside, keep);
  if (layer + 1 == layers_.size()) return;
  T* angles = memory.angles.data();
  for (int k = 0; k < n_rows * channels_; ++k) angles[k] += inside.out[static_cast<size_t>(k)];
}

template <class T>
void AngleMessages<T>::back(Work& work, Memory& memory, int64_t first, int n) const {
  const AngleGradients<T>& gradients = *work.gradients;
  const int width = of_basis_.outputs(), n_rows = 2 * n;
  for (size_t row = 0; row < static_cast<size_t>(n_rows); ++row) {
    const Pair& pair = work.topology.pairs[static_cast<size_t>(first) + row / 2];
    const int32_t receiving = pair.bonds[row % 2], other = pair.bonds[1 - row % 2];
    memory.given[row] = gradients.messages + static_cast<int64_t>(receiving) * channels_;
    memory.weight_gradients[2 * row] = memory.bonds.row(work.of_bonds, layers_.size(), receiving);
    memory.weight_gradients[2 * row + 1] = memory.bonds.row(work.of_bonds, layers_.size(), other);
  }
  std::fill_n(memory.projected_gradients.data(), n * width, T(0));
  std::fill_n(memory.angle_gradients.data(), n_rows * channels_, T(0));
  operators_.gated.weigh_back(n_rows, channels_, memory.perceptrons.back().out.data(), memory.given.data(),
                              memory.weights.data(), memory.weight_gradients.data());
  for (size_t layer = layers_.size(); layer-- > 0;) back(work, memory, first, n, layer);
  for (int row = 0; row < n_rows && n_layers() > 1; ++row)
    for (int c = 0; c < channels_; ++c)
      memory.projected_gradients[static_cast<size_t>(row / 2 * width + c)] +=
          memory.angle_gradients[static_cast<size_t>(row * channels_ + c)];
  operators_.gated.add_dots(n, width, memory.projected_gradients.data(), width, memory.tangents.data(), width,
                            gradients.by_angle + first);
}

template <class T>
void AngleMessages<T>::back(Work& work, Memory& memory, int64_t first, int n, size_t layer) const {
  const AngleLayer<T>& of = layers_[layer];
  const int width = of_basis_.outputs(), n_rows = 2 * n, n_targets = layer == 0 ? 4 : 3;
  for (int row = 0; row < n_rows; ++row) {
    const Pair& pair = work.topology.pairs[static_cast<size_t>(first + row / 2)];
    const auto order = static_cast<size_t>(row % 2);
    T** targets = memory.targets.data() + n_targets * row;
    targets[0] = memory.bonds.row(work.of_bonds, layer, pair.bonds[order]);
    targets[1] = memory.bonds.row(work.of_bonds, layer, pair.bonds[1 - order]) + of.sums;
    targets[2] = memory.centres.row(work.of_centres, layer, pair.centre);
    if (layer == 0) targets[3] = memory.projected_gradients.data() + row / 2 * width + (width - of.sums);
  }
  const bool is_update = layer + 1 < layers_.size();
  const T* given = is_update ? memory.angle_gradients.data() : memory.perceptrons[layer].out.data();
  const T* sums =
      of.perceptron.backward(n_rows, given, n_targets, memory.targets.data(), memory.perceptrons[layer]);
  if (layer > 0) of.angles.back(n_rows, {sums, of.sums}, {memory.angle_gradients.data(), channels_}, true);
}

template struct AngleLayer<float>;
template struct AngleLayer<double>;
template class AngleMessages<float>;
template class AngleMessages<double>;

}  // namespace distmlip::native::gated
