#include "native/so2/convolution.h"

#include "native/so2/convolution_memory.h"
#include "native/so2/in_chunks.h"

namespace distmlip::native::so2 {

template <class T>
Convolution<T>::Convolution(const Operators<T>& operators, const ConvolutionParameters& parameters)
    : operators_(operators),
      shape_{parameters.edges.lmax, parameters.mmax, parameters.edges.channels, parameters.hidden},
      edges_(operators, parameters.edges, parameters.mmax) {
  if (shape_.mmax < 1) invalid("convolutions up to order ", shape_.mmax);
  if (shape_.hidden < 1 || kernels::irreps::padded(shape_.hidden) != shape_.hidden)
    invalid(shape_.hidden, " hidden channels; they must be a multiple of ", kernels::irreps::padding);
  if (edges_.radial().columns() != shape_.radial_columns())
    invalid(edges_.radial().columns(), " radial functions; there must be ", shape_.radial_columns());
}

template <class T>
void Convolution<T>::forward(const Input& input, T* messages, int n_threads) const {
  Memories<Memory> memories(n_threads);
  parallel_for(chunks_of(input.kept_edges), n_threads, [&](int64_t chunk, int thread) {
    Memory& memory = memories.of(thread, *this);
    const Receivers receivers = receivers_of(input.kept_edges, chunk);
    sum_up(input, receivers, memory);
    apply_second(input.layers, receivers, messages, memory);
  });
}

template <class T>
void Convolution<T>::sum_up(const Input& input, const Receivers& receivers, Memory& memory) const {
  std::fill(memory.sums.begin(), memory.sums.end(), T(0));
  std::fill(memory.bias_sums.begin(), memory.bias_sums.end(), T(0));
  memory.positions = edges_.ordered(input.kept_edges, receivers);
  int64_t first = input.kept_edges.first[static_cast<size_t>(receivers.first)];
  for_each_block(memory.positions, [&](std::span<const int32_t> positions) {
    edges_.fill(input.kept_edges, receivers, positions, 1, memory.block);
    enter_frames(input, memory);
    T* hidden = input.kept == nullptr ? memory.hidden.data() : input.kept + first * shape_.hidden_size();
    input.layers.first(memory.block.n, Memory::pointers(memory.into).data(), hidden);
    operators_.frames.gate_degrees({shape_.lmax, shape_.mmax, shape_.hidden}, memory.block.n, hidden,
                                   memory.gated.data());
    add_to_sums(receivers, memory);
    first += memory.block.n;
  });
}

template <class T>
void Convolution<T>::enter_frames(const Input& input, Memory& memory) const {
  FrameBlock<T>& block = memory.block;
  for (size_t e = 0; e < static_cast<size_t>(block.n); ++e) {
    const int64_t receiver = input.kept_edges.topology.receivers[block.edges[e]];
    memory.atoms[2 * e] = input.atoms + int64_t{block.senders[e]} * edges_.row_size();
    memory.atoms[2 * e + 1] = input.atoms + receiver * edges_.row_size();
  }
  operators_.frames.into_frames({shape_.lmax, shape_.mmax, shape_.channels}, block.n, memory.atoms.data(),
                                block.rounded.data(), block.radial.data(),
                                block.per * shape_.radial_columns(), Memory::pointers(memory.into).data());
}

template <class T>
void Convolution<T>::add_to_sums(const Receivers& receivers, Memory& memory) const {
  const FrameBlock<T>& block = memory.block;
  const int row_size = shape_.hidden_size() - shape_.n_gates();
  for (int e = 0; e < block.n; ++e) {
    const int receiver = block.receivers[static_cast<size_t>(e)];
    const T* coefficients = block.coefficients.data() + e * edges_.n_coefficients();
    for (int row = 0; row < edges_.n_rows(0); ++row)
      memory.bias_sums[static_cast<size_t>(row * receivers.n + receiver)] += coefficients[row];
    for (int m = 0; m <= shape_.mmax; ++m) {
      const int width = shape_.to_hidden(m), n_parts = m == 0 ? 1 : 2;
      operators_.frames.add_outer(
          n_sums(m), n_parts, width, coefficients,
          memory.gated.data() + e * row_size + shape_.hidden_offset(m),
          memory.sums.data() + memory.first_sum[static_cast<size_t>(m)] + receiver * width, sum_stride(m));
      coefficients += n_parts * n_sums(m);
    }
  }
}

template <class T>
void Convolution<T>::apply_second(const Layers<T>& layers, const Receivers& receivers, T* messages,
                                  Memory& memory) const {
  const int channels = shape_.channels;
  for (int row = 0; row < edges_.n_rows(0); ++row) {
    const int l = degree_of(row);
    for_each_second(layers, l, row, memory, [&](const Projection<T>& layer, int64_t sums, bool adds) {
      layer.apply(receivers.n, {memory.sums.data() + sums, layer.inputs()}, {memory.of_row.data(), channels},
                  adds);
    });
    const T* bias = layers.second_bias.data() + l * channels;
    for (int receiver = 0; receiver < receivers.n; ++receiver) {
      const T times = memory.bias_sums[static_cast<size_t>(row * receivers.n + receiver)];
      const T* from = memory.of_row.data() + receiver * channels;
      T* to = messages + (receivers.first + receiver) * edges_.row_size() + row * channels;
      for (int c = 0; c < channels; ++c) to[c] = from[c] + bias[c] * times;
    }
  }
}

template class Convolution<float>;
template class Convolution<double>;

}  // namespace distmlip::native::so2
