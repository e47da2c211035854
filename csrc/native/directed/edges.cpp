#include "native/directed/edges_memory.h"

namespace distmlip::native::directed {

template <class T>
Edges<T>::Edges(const Operators<T>& operators, const LengthTables<T>& tables,
                const BlockParameters& parameters)
    : operators_(operators),
      tables_(tables),
      atoms_(parameters.atoms),
      channels_(parameters.edges),
      embedding_(parameters.embedding),
      message_weights_(parameters.messages.weights),
      messages_(operators, parameters.messages.layer, std::array{atoms_, atoms_}, channels_, atoms_) {
  const auto require_columns = [&](int group, int channels) {
    if (tables.columns(group) != channels)
      invalid(tables.columns(group), " functions of the length for ", channels, " channels");
  };
  if (embedding_ >= 0) require_columns(embedding_, channels_);
  require_columns(message_weights_, atoms_);
  if (parameters.three_body)
    three_body_.emplace(operators, parameters.three_body->layer, std::span<const int>(),
                        parameters.three_body->layer.own.rows, channels_);
  if (parameters.edge_update) {
    update_.emplace(operators, parameters.edge_update->layer, std::array{atoms_, atoms_}, channels_,
                    channels_);
    update_weights_ = parameters.edge_update->weights;
    require_columns(update_weights_, channels_);
  }
  if (parameters.edge_norm) norm_.emplace(operators, *parameters.edge_norm, channels_);
}

template <class T>
typename Edges<T>::Kept Edges<T>::kept_of(T* kept, int64_t first, int n) const {
  if (kept == nullptr) return {};
  T* at = kept + first * kept_per_edge();
  const auto next = [&](int64_t per_edge) {
    T* here = at;
    at += n * per_edge;
    return here;
  };
  return {three_body_ ? next(three_body_->kept_per_row()) : nullptr,
          update_ ? next(update_->kept_per_row()) : nullptr, next(messages_.kept_per_row()),
          norm_ ? next(channels_ + 1) : nullptr};
}

template <class T>
int64_t Edges<T>::kept_per_edge() const {
  return (three_body_ ? three_body_->kept_per_row() : 0) + (update_ ? update_->kept_per_row() : 0) +
         messages_.kept_per_row() + (norm_ ? channels_ + 1 : 0);
}

template <class T>
void Edges<T>::forward(const EdgeInput<T>& input, T* edges, T* messages, T* kept, int n_threads) const {
  const EdgeTopology& topology = input.topology;
  const int64_t n_chunks = gated::chunks_of(topology.n_owned);
  std::vector<Memory> memories(static_cast<size_t>(std::min(n_chunks, gated::chunks_at_a_time)),
                               Memory(*this));
  gated::in_chunks(
      n_chunks, n_threads,
      [&](int64_t chunk, size_t slot) {
        Memory& memory = memories[slot];
        const auto [from, to] = edges_of(topology, chunk);
        for (int64_t first = from; first < to; first += rows_per_block) {
          const auto n = static_cast<int>(std::min<int64_t>(rows_per_block, to - first));
          const Kept of_block = kept_of(kept, first, n);
          find(input, first, n, 1, memory);
          evaluate(input, first, n, kept != nullptr, of_block, memory);
          if (of_block.norm != nullptr) {
            T* roots = std::copy_n(memory.norm.kept.data(), n * channels_, of_block.norm);
            std::copy_n(memory.norm.roots.data(), n, roots);
          }
          if (edges != nullptr) std::copy_n(memory.edges.data(), n * channels_, edges + first * channels_);
          for (size_t row = 0; row < static_cast<size_t>(n); ++row)
            memory.to[row] = messages + topology.receivers[static_cast<size_t>(first) + row] * atoms_;
          operators_.gated.weigh(n, atoms_, memory.messages.out(), memory.weights.data(), memory.to.data());
        }
      },
      [](size_t) {});
}

/// Where the lengths of edges are in tables.
template <class T>
void Edges<T>::find(const EdgeInput<T>& input, int64_t first, int n, int per, Memory& memory) const {
  for (int row = 0; row < n; ++row)
    memory.lengths[static_cast<size_t>(row)] = length_of(input.vectors + 3 * (first + row));
  memory.per = per;
  tables_.find(n, memory.lengths.data(), per, memory.places);
}

/// Messages, whose weights are then in memory.weights, and edges as they are behind the block.
template <class T>
void Edges<T>::evaluate(const EdgeInput<T>& input, int64_t first, int n, bool keep, const Kept& kept,
                        Memory& memory) const {
  begin(input, first, n, keep, kept, memory);
  T* edges = memory.edges.data();
  if (update_) {
    apply(input, *update_, *input.update, first, n, keep, kept.update, edges, memory.update);
    weights(update_weights_, n, memory, memory.update_weights);
    for (size_t row = 0; row < static_cast<size_t>(n); ++row)
      memory.to[row] = edges + static_cast<int>(row) * channels_;
    operators_.gated.weigh(n, channels_, memory.update.out(), memory.weights.data(), memory.to.data());
  }
  apply(input, messages_, *input.messages, first, n, keep, kept.messages, edges, memory.messages);
  weights(message_weights_, n, memory, memory.message_weights);
  if (norm_) norm_->forward(n, edges, memory.norm);
}

/// What evaluate() leaves in memory for the way back, from what it has kept elsewhere.
template <class T>
void Edges<T>::restore(int n, const Kept& kept, Memory& memory) const {
  if (embedding_ >= 0) tables_.evaluate(embedding_, memory.places, memory.embedding.data(), channels_);
  if (three_body_) three_body_->restore(n, kept.three_body, memory.three_body);
  if (update_) {
    update_->restore(n, kept.update, memory.update);
    weights(update_weights_, n, memory, memory.update_weights);
  }
  messages_.restore(n, kept.messages, memory.messages);
  weights(message_weights_, n, memory, memory.message_weights);
  if (!norm_) return;
  memory.norm.reserve(n, channels_);
  std::copy_n(kept.norm, n * channels_, memory.norm.kept.data());
  std::copy_n(kept.norm + n * channels_, n, memory.norm.roots.data());
}

/// Edges as they are before their update, with what angles say.
template <class T>
void Edges<T>::begin(const EdgeInput<T>& input, int64_t first, int n, bool keep, const Kept& kept,
                     Memory& memory) const {
  if (embedding_ >= 0) tables_.evaluate(embedding_, memory.places, memory.embedding.data(), channels_);
  for (int row = 0; row < n; ++row) {
    const int32_t node = input.node_of_edge == nullptr ? -1 : input.node_of_edge[first + row];
    const T* from = node >= 0                ? input.nodes + static_cast<int64_t>(node) * channels_
                    : input.edges != nullptr ? input.edges + (first + row) * channels_
                                             : memory.embedding.data() + memory.per * row * channels_;
    std::copy_n(from, channels_, memory.edges.data() + row * channels_);
  }
  if (!three_body_) return;
  three_body_->forward(
      n, input.three_body + first * three_body_->own_channels(),
      [](size_t, size_t) -> const T* { return nullptr; }, memory.three_body, keep, kept.three_body);
  for (int k = 0; k < n * channels_; ++k) memory.edges[static_cast<size_t>(k)] += memory.three_body.out()[k];
}

template <class T>
void Edges<T>::apply(const EdgeInput<T>& input, const GatedLayer<T>& layer, const SourceTables<T>& tables,
                     int64_t first, int n, bool keep, T* kept, const T* edges,
                     typename GatedLayer<T>::Memory& memory) const {
  layer.forward(
      n, edges,
      [&](size_t source, size_t row) {
        const int64_t* of = source == 0 ? input.topology.receivers : input.topology.senders;
        return tables.rows[source].data() + of[static_cast<size_t>(first) + row] * layer.sums();
      },
      memory, keep, kept);
}

/// memory.weights, of each edge.
template <class T>
void Edges<T>::weights(int group, int n, Memory& memory, Buffer<T>& rows) const {
  const int width = tables_.columns(group);
  tables_.evaluate(group, memory.places, rows.data(), width);
  for (int row = 0; row < n; ++row)
    memory.weights[static_cast<size_t>(2 * row)] = rows.data() + memory.per * row * width;
}

template class Edges<float>;
template class Edges<double>;

}  // namespace distmlip::native::directed
