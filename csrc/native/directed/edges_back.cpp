// The way back of edges.
#include "native/directed/edges_memory.h"

namespace distmlip::native::directed {

template <class T>
void Edges<T>::backward(const EdgeInput<T>& input, const EdgeGradients<T>& gradients, const T* kept,
                        int n_threads) const {
  const EdgeTopology& topology = input.topology;
  const int64_t n_chunks = gated::chunks_of(topology.n_owned);
  std::vector<Memory> memories(static_cast<size_t>(std::min(n_chunks, gated::chunks_at_a_time)),
                               Memory(*this));
  std::vector<Table<T>> tables;
  if (gradients.of_messages != nullptr) {
    if (update_) tables.push_back({gradients.of_update->rows[1].data(), update_->sums()});
    tables.push_back({gradients.of_messages->rows[1].data(), messages_.sums()});
  }
  gated::in_chunks(
      n_chunks, n_threads,
      [&](int64_t chunk, size_t slot) {
        Memory& memory = memories[slot];
        const auto [from, to] = edges_of(topology, chunk);
        memory.of_senders = tables;
        memory.senders.open(topology.n_local);
        for (int64_t e = from; e < to && !tables.empty(); ++e)
          memory.senders.touch(static_cast<int32_t>(topology.senders[e]));
        memory.senders.clear(tables);
        for (int64_t first = from; first < to; first += rows_per_block) {
          const auto n = static_cast<int>(std::min<int64_t>(rows_per_block, to - first));
          const Kept of_block = kept_of(const_cast<T*>(kept), first, n);  // only read
          find(input, first, n, 2, memory);
          if (kept != nullptr)
            restore(n, of_block, memory);
          else
            evaluate(input, first, n, true, of_block, memory);
          back(input, gradients, first, n, of_block, memory);
        }
      },
      [&](size_t slot) { memories[slot].senders.add_to(tables); });
}

template <class T>
void Edges<T>::back(const EdgeInput<T>& input, const EdgeGradients<T>& gradients, int64_t first, int n,
                    const Kept& kept, Memory& memory) const {
  if (gradients.edges != nullptr)
    std::copy_n(gradients.edges + first * channels_, n * channels_, memory.back.data());
  else
    std::fill_n(memory.back.data(), n * channels_, T(0));
  std::fill_n(memory.by_length.data(), n, T(0));
  if (norm_) norm_->backward(n, memory.back.data(), memory.norm);
  messages_back(input, gradients, first, n, kept, memory);
  if (update_) update_back(input, gradients, first, n, kept, memory);
  begin_back(input, gradients, first, n, kept, memory);
  for (int row = 0; row < n; ++row) {
    const int64_t at = 3 * (first + row);
    const auto k = static_cast<size_t>(row);
    const auto scale = memory.by_length[k] / static_cast<T>(memory.lengths[k]);
    for (int64_t x = at; x < at + 3; ++x) gradients.vectors[x] += scale * input.vectors[x];
  }
}

template <class T>
void Edges<T>::messages_back(const EdgeInput<T>& input, const EdgeGradients<T>& gradients, int64_t first,
                             int n, const Kept& kept, Memory& memory) const {
  const EdgeTopology& topology = input.topology;
  for (size_t row = 0; row < static_cast<size_t>(n); ++row)
    memory.given[row] = gradients.messages + topology.receivers[static_cast<size_t>(first) + row] * atoms_;
  // memory.weights are still those of messages.
  weigh_back(n, atoms_, memory.messages.out(), memory);
  add_lengths(n, atoms_, memory.weight_gradients.data(), memory.message_weights, memory);
  const bool with_sources = gradients.of_messages != nullptr;
  messages_.backward(
      n, memory.messages.out(),
      [&](size_t source, size_t row) {
        const size_t e = static_cast<size_t>(first) + row;
        if (source == 1)
          return memory.senders.row(memory.of_senders, memory.of_senders.size() - 1,
                                    static_cast<int32_t>(topology.senders[e]));
        return gradients.of_messages->rows[0].data() + topology.receivers[e] * messages_.sums();
      },
      with_sources, memory.back.data(), true, memory.messages, kept.messages);
}

template <class T>
void Edges<T>::update_back(const EdgeInput<T>& input, const EdgeGradients<T>& gradients, int64_t first, int n,
                           const Kept& kept, Memory& memory) const {
  const EdgeTopology& topology = input.topology;
  for (int row = 0; row < n; ++row) {
    const auto k = static_cast<size_t>(row);
    memory.given[k] = memory.back.data() + row * channels_;
    memory.weights[2 * k] = memory.update_weights.data() + memory.per * row * channels_;
  }
  weigh_back(n, channels_, memory.update.out(), memory);
  add_lengths(n, channels_, memory.weight_gradients.data(), memory.update_weights, memory);
  const bool with_sources = gradients.of_messages != nullptr;
  update_->backward(
      n, memory.update.out(),
      [&](size_t source, size_t row) {
        const size_t e = static_cast<size_t>(first) + row;
        if (source == 1)
          return memory.senders.row(memory.of_senders, 0, static_cast<int32_t>(topology.senders[e]));
        return gradients.of_update->rows[0].data() + topology.receivers[e] * update_->sums();
      },
      with_sources, memory.back.data(), true, memory.update, kept.update);
}

template <class T>
void Edges<T>::begin_back(const EdgeInput<T>& input, const EdgeGradients<T>& gradients, int64_t first, int n,
                          const Kept& kept, Memory& memory) const {
  if (three_body_)
    three_body_->backward(
        n, memory.back.data(), [](size_t, size_t) -> T* { return nullptr; }, false,
        gradients.three_body + first * three_body_->own_channels(), false, memory.three_body,
        kept.three_body);
  for (int row = 0; row < n; ++row) {
    T* back = memory.back.data() + row * channels_;
    const int32_t node = input.node_of_edge == nullptr ? -1 : input.node_of_edge[first + row];
    if (node >= 0) {
      std::copy_n(back, channels_, gradients.nodes + static_cast<int64_t>(node) * channels_);
      std::fill_n(back, channels_, T(0));
    }
    if (gradients.edges_before != nullptr)
      std::copy_n(back, channels_, gradients.edges_before + (first + row) * channels_);
  }
  if (embedding_ >= 0) add_lengths(n, channels_, memory.back.data(), memory.embedding, memory);
}

/// `out`, which memory.weights have been multiplied with, becomes its gradient; memory.given: that of the
/// products.
template <class T>
void Edges<T>::weigh_back(int n, int channels, T* out, Memory& memory) const {
  std::fill_n(memory.weight_gradients.data(), n * channels, T(0));
  for (int row = 0; row < n; ++row)
    memory.to_weights[static_cast<size_t>(2 * row)] = memory.weight_gradients.data() + row * channels;
  operators_.gated.weigh_back(n, channels, out, memory.given.data(), memory.weights.data(),
                              memory.to_weights.data());
}

/// What functions of the length, [edge][values, derivatives], add to its gradient.
template <class T>
void Edges<T>::add_lengths(int n, int channels, const T* gradients, const Buffer<T>& values,
                           Memory& memory) const {
  operators_.gated.add_dots(n, channels, gradients, channels, values.data() + channels, 2 * channels,
                            memory.by_length.data());
}

template void Edges<float>::backward(const EdgeInput<float>&, const EdgeGradients<float>&, const float*,
                                     int) const;
template void Edges<double>::backward(const EdgeInput<double>&, const EdgeGradients<double>&, const double*,
                                      int) const;

}  // namespace distmlip::native::directed
