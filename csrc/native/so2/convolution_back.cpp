// The way back of convolutions.
#include <numeric>

#include "native/so2/convolution_memory.h"
#include "native/so2/in_chunks.h"

namespace distmlip::native::so2 {

template <class T>
void Convolution<T>::backward(const Input& input, const T* by_messages, T* by_atoms, T* by_vectors,
                              int n_threads) const {
  const EdgeTopology& topology = input.kept_edges.topology;
  Memories<Memory> memories(n_threads);
  std::vector<gated::Share<T>> shares(static_cast<size_t>(gated::chunks_at_a_time));
  const std::vector<gated::Table<T>> tables{{by_atoms, edges_.row_size()}};
  const int64_t n_chunks = chunks_of(input.kept_edges);
  for (int64_t first = 0; first < n_chunks; first += gated::chunks_at_a_time) {
    const int64_t n = std::min(gated::chunks_at_a_time, n_chunks - first);
    parallel_for(n, n_threads, [&](int64_t slot, int thread) {
      Memory& memory = memories.of(thread, *this);
      const Receivers receivers = receivers_of(input.kept_edges, first + slot);
      memory.positions = edges_.ordered(input.kept_edges, receivers);
      memory.tables = tables;
      memory.share = &shares[static_cast<size_t>(slot)];
      memory.share->open(topology.n_local);
      for (int64_t receiver = receivers.first; receiver < receivers.first + receivers.n; ++receiver)
        memory.share->touch(static_cast<int32_t>(receiver));
      for (const int32_t position : memory.positions)
        memory.share->touch(
            static_cast<int32_t>(topology.senders[input.kept_edges.edges[static_cast<size_t>(position)]]));
      memory.share->clear(tables);
      second_back(input.layers, receivers, by_messages, memory);
      edges_back(input, receivers, by_vectors, memory);
    });
    for (int64_t slot = 0; slot < n; ++slot) shares[static_cast<size_t>(slot)].add_to(tables);
  }
}

/// Gradients of sums over edges.
template <class T>
void Convolution<T>::second_back(const Layers<T>& layers, const Receivers& receivers, const T* by_messages,
                                 Memory& memory) const {
  const int channels = shape_.channels;
  for (int row = 0; row < edges_.n_rows(0); ++row) {
    const int l = degree_of(row);
    const T* bias = layers.second_bias.data() + l * channels;
    for (int receiver = 0; receiver < receivers.n; ++receiver) {
      const T* from = by_messages + (receivers.first + receiver) * edges_.row_size() + row * channels;
      memory.bias_sums[static_cast<size_t>(row * receivers.n + receiver)] =
          std::inner_product(from, from + channels, bias, T(0));
    }
    const T* gradients = by_messages + receivers.first * edges_.row_size() + row * channels;
    for_each_second(layers, l, row, memory, [&](const Projection<T>& layer, int64_t sums, bool /*adds*/) {
      layer.back(receivers.n, {gradients, edges_.row_size()}, {memory.sums.data() + sums, layer.inputs()},
                 false);
    });
  }
}

template <class T>
void Convolution<T>::edges_back(const Input& input, const Receivers& receivers, T* by_vectors,
                                Memory& memory) const {
  const kernels::irreps::FrameShape of_atoms{shape_.lmax, shape_.mmax, shape_.channels},
      of_hidden{shape_.lmax, shape_.mmax, shape_.hidden};
  FrameBlock<T>& block = memory.block;
  int64_t first = input.kept_edges.first[static_cast<size_t>(receivers.first)];
  for_each_block(memory.positions, [&](std::span<const int32_t> positions) {
    edges_.fill(input.kept_edges, receivers, positions, 2, block);
    const T* hidden = memory.hidden.data();
    if (input.kept == nullptr) {
      enter_frames(input, memory);
      input.layers.first(block.n, Memory::pointers(memory.into).data(), memory.hidden.data());
    } else {
      hidden = input.kept + first * shape_.hidden_size();
    }
    first += block.n;
    operators_.frames.gate_degrees(of_hidden, block.n, hidden, memory.gated.data());
    sums_back(receivers, memory);
    operators_.frames.gate_degrees_back(of_hidden, block.n, hidden, memory.by_gated.data(),
                                        Memory::pointers(memory.by_hidden).data());
    const std::vector<T*> by_into = Memory::pointers(memory.by_into);
    input.layers.first_back(block.n, Memory::pointers(memory.by_hidden).data(), by_into.data());
    for (size_t e = 0; e < static_cast<size_t>(block.n); ++e) {
      const int64_t receiver = receivers.first + block.receivers[e];
      memory.atoms[2 * e] = input.atoms + int64_t{block.senders[e]} * edges_.row_size();
      memory.atoms[2 * e + 1] = input.atoms + receiver * edges_.row_size();
      memory.by_atoms[2 * e] = memory.share->row(memory.tables, 0, block.senders[e]);
      memory.by_atoms[2 * e + 1] = memory.share->row(memory.tables, 0, static_cast<int32_t>(receiver));
    }
    operators_.frames.out_of_frames(of_atoms, edges_.turns(), block.n, memory.atoms.data(),
                                    block.rounded.data(), block.radial.data(), shape_.radial_columns(),
                                    by_into.data(), memory.by_atoms.data(), memory.by_edges.data());
    for (int e = 0; e < block.n; ++e)
      edges_.write_gradient(block, e, memory.by_edges.data() + 3 * e, by_vectors);
  });
}

/// Gradients of what gates gave, and of coefficients.
template <class T>
void Convolution<T>::sums_back(const Receivers& receivers, Memory& memory) const {
  FrameBlock<T>& block = memory.block;
  const int row_size = shape_.hidden_size() - shape_.n_gates();
  for (int e = 0; e < block.n; ++e) {
    const int receiver = block.receivers[static_cast<size_t>(e)];
    const T* coefficients = block.coefficients.data() + e * edges_.n_coefficients();
    T* const by_coefficients = block.by_coefficients.data() + e * edges_.n_coefficients();
    T* to = by_coefficients;
    for (int m = 0; m <= shape_.mmax; ++m) {
      const int width = shape_.to_hidden(m), n_parts = m == 0 ? 1 : 2,
                offset = e * row_size + shape_.hidden_offset(m);
      operators_.frames.add_outer_back(
          n_sums(m), n_parts, width, coefficients, memory.gated.data() + offset,
          memory.sums.data() + memory.first_sum[static_cast<size_t>(m)] + receiver * width, sum_stride(m),
          memory.by_gated.data() + offset, to);
      coefficients += n_parts * n_sums(m);
      to += n_parts * n_sums(m);
    }
    for (int row = 0; row < edges_.n_rows(0); ++row)
      by_coefficients[row] += memory.bias_sums[static_cast<size_t>(row * receivers.n + receiver)];
  }
}

template void Convolution<float>::backward(const Input&, const float*, float*, float*, int) const;
template void Convolution<double>::backward(const Input&, const double*, double*, double*, int) const;

}  // namespace distmlip::native::so2
