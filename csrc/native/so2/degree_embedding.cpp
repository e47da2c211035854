#include "native/so2/degree_embedding.h"

#include "native/so2/in_chunks.h"

namespace distmlip::native::so2 {

template <class T>
DegreeEmbedding<T>::DegreeEmbedding(const Operators<T>& operators, const EdgeParameters& parameters)
    : operators_(operators), edges_(operators, parameters, 0) {
  const int columns = (parameters.lmax + 1) * parameters.channels;
  if (edges_.radial().columns() != columns)
    invalid(edges_.radial().columns(), " radial functions; there must be ", columns);
}

template <class T>
void DegreeEmbedding<T>::forward(const KeptEdges<T>& kept, T* rows, int n_threads) const {
  Memories<Memory> memories(n_threads);
  const int channels = edges_.channels();
  parallel_for(chunks_of(kept), n_threads, [&](int64_t chunk, int thread) {
    FrameBlock<T>& block = memories.of(thread, *this).block;
    const Receivers receivers = receivers_of(kept, chunk);
    T* const of_chunk = rows + receivers.first * edges_.row_size();
    std::fill_n(of_chunk, int64_t{receivers.n} * edges_.row_size(), T(0));
    const std::vector<int32_t> all = edges_.ordered(kept, receivers);
    for_each_block(all, [&](std::span<const int32_t> positions) {
      edges_.fill(kept, receivers, positions, 1, block);
      for (int e = 0; e < block.n; ++e)
        for (int l = 0; l <= edges_.lmax(); ++l)
          operators_.frames.add_outer(
              2 * l + 1, 1, channels, block.coefficients.data() + e * edges_.n_coefficients() + l * l,
              block.radial.data() + e * edges_.radial().columns() + l * channels,
              of_chunk + block.receivers[static_cast<size_t>(e)] * edges_.row_size() + l * l * channels,
              channels);
    });
  });
}

template <class T>
void DegreeEmbedding<T>::backward(const KeptEdges<T>& kept, const T* by_rows, T* by_vectors,
                                  int n_threads) const {
  Memories<Memory> memories(n_threads);
  parallel_for(chunks_of(kept), n_threads, [&](int64_t chunk, int thread) {
    Memory& memory = memories.of(thread, *this);
    const Receivers receivers = receivers_of(kept, chunk);
    const std::vector<int32_t> all = edges_.ordered(kept, receivers);
    for_each_block(all, [&](std::span<const int32_t> positions) {
      edges_.fill(kept, receivers, positions, 2, memory.block);
      for (int e = 0; e < memory.block.n; ++e) {
        const int64_t receiver = receivers.first + memory.block.receivers[static_cast<size_t>(e)];
        edge_back(e, by_rows + receiver * edges_.row_size(), by_vectors, memory);
      }
    });
  });
}

template <class T>
void DegreeEmbedding<T>::edge_back(int edge, const T* by_row, T* by_vectors, Memory& memory) const {
  FrameBlock<T>& block = memory.block;
  const int channels = edges_.channels(), columns = edges_.radial().columns(),
            first = edge * edges_.n_coefficients();
  const T* radial = block.radial.data() + 2 * edge * columns;
  for (int l = 0; l <= edges_.lmax(); ++l)
    operators_.frames.add_outer_back(2 * l + 1, 1, channels, block.coefficients.data() + first + l * l,
                                     radial + l * channels, by_row + l * l * channels, channels,
                                     memory.by_radial.data() + l * channels,
                                     block.by_coefficients.data() + first + l * l);
  T by_turns_and_length[] = {0, 0, 0};
  operators_.gated.add_dots(1, columns, memory.by_radial.data(), columns, radial + columns, columns,
                            by_turns_and_length + 2);
  edges_.write_gradient(block, edge, by_turns_and_length, by_vectors);
}

template class DegreeEmbedding<float>;
template class DegreeEmbedding<double>;

}  // namespace distmlip::native::so2
