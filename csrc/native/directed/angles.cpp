#include "native/directed/angles.h"

#include "native/gated/row_sums.h"

namespace distmlip::native::directed {

using gated::Share;
using gated::Table;

/// Of one thread.
template <class T>
struct Angles<T>::Memory {
  explicit Memory(const Angles& of) : layer(of.layer_.memory()) {}
  typename GatedLayer<T>::Memory layer;
  std::array<const T*, 2 * rows_per_block> weights{};
  std::array<T*, 2 * rows_per_block> to_weights{};
  std::array<const T*, rows_per_block> given;
  std::array<T*, rows_per_block> to;
  Buffer<T> gradients;
  Share<T> rows;  ///< of nodes that send
  std::vector<Table<T>> tables;
};

namespace {

/// Angles whose centres are the atoms of a chunk.
std::pair<int64_t, int64_t> angles_of(const LineGraph& line, int64_t chunk) {
  const int64_t n_owned = std::ssize(line.first_angle) - 1;
  const auto at = [&](int64_t atom) {
    return line.first_angle[static_cast<size_t>(std::min(n_owned, atom))];
  };
  return {at(chunk * gated::atoms_per_chunk), at((chunk + 1) * gated::atoms_per_chunk)};
}

int64_t chunks_of(const LineGraph& line) { return gated::chunks_of(std::ssize(line.first_angle) - 1); }

}  // namespace

/// work(first, n, memory) for all angles, several at a time.
template <class T>
template <class Work>
void Angles<T>::in_blocks(const LineGraph& line, int n_threads, Work work) const {
  const int64_t n_chunks = chunks_of(line);
  std::vector<Memory> memories(static_cast<size_t>(std::min(n_chunks, gated::chunks_at_a_time)),
                               Memory(*this));
  gated::in_chunks(
      n_chunks, n_threads,
      [&](int64_t chunk, size_t slot) {
        const auto [from, to] = angles_of(line, chunk);
        for (int64_t first = from; first < to; first += rows_per_block)
          work(first, static_cast<int>(std::min<int64_t>(rows_per_block, to - first)), memories[slot]);
      },
      [](size_t) {});
}

template <class T>
void Angles<T>::update(const Input& input, T* updated, T* kept, int n_threads) const {
  const int width = layer_.outputs();
  in_blocks(input.line, n_threads, [&](int64_t first, int n, Memory& memory) {
    evaluate(input, first, n, kept != nullptr, kept_of(kept, first), memory);
    const T *before = input.angles + first * width, *added = memory.layer.out();
    T* to = updated + first * width;
    for (int k = 0; k < n * width; ++k) to[k] = before[k] + added[k];
  });
}

template <class T>
void Angles<T>::send(const Input& input, T* messages, T* kept, int n_threads) const {
  const int width = layer_.outputs();
  // All that a node receives comes from angles of one chunk.
  in_blocks(input.line, n_threads, [&](int64_t first, int n, Memory& memory) {
    evaluate(input, first, n, kept != nullptr, kept_of(kept, first), memory);
    find_weights(input, first, n, memory);
    for (size_t row = 0; row < static_cast<size_t>(n); ++row)
      memory.to[row] = messages + input.line.angles[static_cast<size_t>(first) + row].to * width;
    operators_.gated.weigh(n, width, memory.layer.out(), memory.weights.data(), memory.to.data());
  });
}

template <class T>
void Angles<T>::evaluate(const Input& input, int64_t first, int n, bool keep, T* kept, Memory& memory) const {
  const LineGraph::Angle* angles = input.line.angles.data() + first;
  layer_.forward(
      n, input.angles + first * layer_.own_channels(),
      [&](size_t source, size_t row) {
        const LineGraph::Angle& angle = angles[row];
        const int32_t of = source == 0 ? angle.from : source == 1 ? angle.to : angle.centre;
        return input.tables->rows[source].data() + static_cast<int64_t>(of) * layer_.sums();
      },
      memory.layer, keep, kept);
}

template <class T>
void Angles<T>::find_weights(const Input& input, int64_t first, int n, Memory& memory) const {
  const LineGraph::Angle* angles = input.line.angles.data() + first;
  for (size_t row = 0; row < static_cast<size_t>(n); ++row) {
    memory.weights[2 * row] = input.weights + static_cast<int64_t>(angles[row].to) * layer_.outputs();
    memory.weights[2 * row + 1] = input.weights + static_cast<int64_t>(angles[row].from) * layer_.outputs();
  }
}

template <class T>
void Angles<T>::backward(const Input& input, const Gradients& gradients, const T* kept, int n_threads) const {
  const LineGraph& line = input.line;
  const int64_t n_chunks = chunks_of(line);
  std::vector<Memory> memories(static_cast<size_t>(std::min(n_chunks, gated::chunks_at_a_time)),
                               Memory(*this));
  std::vector<Table<T>> tables{{gradients.tables->rows[0].data(), layer_.sums()}};
  if (gradients.weights != nullptr) tables.push_back({gradients.weights, layer_.outputs()});
  gated::in_chunks(
      n_chunks, n_threads,
      [&](int64_t chunk, size_t slot) {
        Memory& memory = memories[slot];
        const auto [from, to] = angles_of(line, chunk);
        memory.tables = tables;
        memory.rows.open(line.n_rows());
        for (int64_t a = from; a < to; ++a) {
          memory.rows.touch(line.angles[static_cast<size_t>(a)].from);
          if (gradients.weights != nullptr) memory.rows.touch(line.angles[static_cast<size_t>(a)].to);
        }
        memory.rows.clear(tables);
        for (int64_t first = from; first < to; first += rows_per_block) {
          const auto n = static_cast<int>(std::min<int64_t>(rows_per_block, to - first));
          const T* of_block = kept_of(const_cast<T*>(kept), first);  // only read
          if (kept != nullptr)
            layer_.restore(n, of_block, memory.layer);
          else
            evaluate(input, first, n, true, nullptr, memory);
          back(input, gradients, first, n, of_block, memory);
        }
      },
      [&](size_t slot) { memories[slot].rows.add_to(tables); });
}

template <class T>
void Angles<T>::back(const Input& input, const Gradients& gradients, int64_t first, int n, const T* kept,
                     Memory& memory) const {
  const LineGraph::Angle* angles = input.line.angles.data() + first;
  const int width = layer_.outputs();
  const bool is_update = gradients.weights == nullptr;
  const T* of_out = gradients.given + first * width;
  if (!is_update) {
    find_weights(input, first, n, memory);
    for (size_t row = 0; row < static_cast<size_t>(n); ++row) {
      memory.given[row] = gradients.given + static_cast<int64_t>(angles[row].to) * width;
      memory.to_weights[2 * row] = memory.rows.row(memory.tables, 1, angles[row].to);
      memory.to_weights[2 * row + 1] = memory.rows.row(memory.tables, 1, angles[row].from);
    }
    operators_.gated.weigh_back(n, width, memory.layer.out(), memory.given.data(), memory.weights.data(),
                                memory.to_weights.data());
    of_out = memory.layer.out();
  }
  T* of_angles = gradients.angles + first * layer_.own_channels();
  if (is_update) std::copy_n(of_out, n * width, of_angles);
  layer_.backward(
      n, of_out,
      [&](size_t source, size_t row) {
        const LineGraph::Angle& angle = angles[row];
        if (source == 0) return memory.rows.row(memory.tables, 0, angle.from);
        const int32_t of = source == 1 ? angle.to : angle.centre;
        return gradients.tables->rows[source].data() + static_cast<int64_t>(of) * layer_.sums();
      },
      true, of_angles, is_update, memory.layer, kept);
}

template class Angles<float>;
template class Angles<double>;

}  // namespace distmlip::native::directed
