// The way back of three-body sums.
#include <span>

#include "native/directed/three_body_memory.h"

namespace distmlip::native::directed {

using gated::atoms_per_chunk;

template <class T>
void ThreeBody<T>::backward(const Input& input, const Gradients& gradients, int n_threads) const {
  const int64_t n_owned = input.topology.n_owned, n_chunks = gated::chunks_of(n_owned);
  std::vector<Memory> memories(static_cast<size_t>(std::min(n_chunks, gated::chunks_at_a_time)));
  std::vector<gated::Share<T>> ends(memories.size());
  const std::vector<gated::Table<T>> tables =
      gradients.end_atoms == nullptr ? std::vector<gated::Table<T>>()
                                     : std::vector<gated::Table<T>>{{gradients.end_atoms, columns()}};
  gated::in_chunks(
      n_chunks, n_threads,
      [&](int64_t chunk, size_t slot) {
        Memory& memory = memories[slot];
        gated::Share<T>& share = ends[slot];
        const int64_t begin = chunk * atoms_per_chunk, end = std::min(n_owned, begin + atoms_per_chunk);
        const auto row_of = [&](int64_t atom, int32_t edge) {
          return static_cast<int32_t>(reads_centres_ ? atom : input.topology.senders[edge]);
        };
        const auto short_of = [&](int64_t atom) {
          const auto row = static_cast<size_t>(atom);
          return std::span(input.short_edges.edges.data() + input.short_edges.first[row],
                           input.short_edges.edges.data() + input.short_edges.first[row + 1]);
        };
        share.open(input.topology.n_local);
        for (int64_t atom = begin; atom < end && !tables.empty(); ++atom)
          for (const int32_t edge : short_of(atom)) share.touch(row_of(atom, edge));
        share.clear(tables);
        for (int64_t atom = begin; atom < end; ++atom) {
          prepare(input, atom, true, memory);
          back(memory, gradients);
          if (tables.empty()) continue;
          const int stride = tables_.columns(group_), width = padded_columns();
          for (size_t k = 0; k < memory.edges.size(); ++k) {
            T* to = share.row(tables, 0, row_of(atom, memory.edges[k]));
            const T *radial = memory.radial.data() + 2 * k * static_cast<size_t>(stride),
                    *by = memory.by_weights.data() + k * static_cast<size_t>(width);
            for (int c = 0; c < columns(); ++c) to[c] += radial[c] * by[c];
          }
        }
      },
      [&](size_t slot) { ends[slot].add_to(tables); });
}

template <class T>
void ThreeBody<T>::back(Memory& memory, const Gradients& gradients) const {
  const int n = static_cast<int>(memory.edges.size()), width = padded_columns(),
            stride = tables_.columns(group_), n_columns = columns();
  std::fill_n(memory.by_weights.data(), n * width, T(0));
  std::fill_n(memory.by_harmonics.data(), n * harmonics_per_edge, T(0));
  for (int k = 0; k < n; ++k) {
    const T *given = gradients.sums + static_cast<int64_t>(memory.edges[static_cast<size_t>(k)]) * width,
            *radial = memory.radial.data() + 2 * k * stride, *sums = memory.sums.data() + k * width;
    T of_own = 0;
    for (int c = 0; c < width; ++c) {
      memory.by_sums[static_cast<size_t>(k * width + c)] = radial[n_columns] * given[c];
      of_own += given[c] * sums[c];
    }
    memory.by_length[static_cast<size_t>(k)] = of_own * radial[stride + n_columns];
  }
  if (!by_pairs()) sums_back(n, memory);
  pairs_back(memory);
  for (int k = 0; k < n; ++k) {
    const T *slopes = memory.radial.data() + (2 * k + 1) * stride, *by = memory.by_weights.data() + k * width,
            *end = memory.ends[static_cast<size_t>(k)];
    for (int c = 0; c < n_columns; ++c)
      memory.by_length[static_cast<size_t>(k)] += by[c] * end[c] * slopes[c];
  }
  std::vector<T> of_pairs(memory.by_vectors.begin(), memory.by_vectors.begin() + 3 * n);
  operators_.harmonics_back(n, memory.vectors.data(), T(1), memory.by_harmonics.data(),
                            memory.by_length.data(), memory.to_vectors.data());
  for (int k = 0; k < n; ++k) {
    T* to = gradients.vectors + 3 * static_cast<int64_t>(memory.edges[static_cast<size_t>(k)]);
    for (size_t x = 0; x < 3; ++x) {
      const size_t at = 3 * static_cast<size_t>(k) + x;
      to[x] += memory.by_vectors[at] + of_pairs[at];
    }
  }
}

template <class T>
void ThreeBody<T>::sums_back(int n, Memory& memory) const {
  const int width = padded_columns();
  const double *totals = memory.of_harmonics.data(), *by_totals = memory.by_of_harmonics.data();
  add_up(n, memory, memory.by_sums.data(), memory.by_of_harmonics.data());
  for (int k = 0; k < n; ++k) {
    const T *y = memory.harmonics.data() + k * harmonics_per_edge, *by = memory.by_sums.data() + k * width,
            *w = memory.weights.data() + k * width;
    T *by_w = memory.by_weights.data() + k * width,
      *by_y = memory.by_harmonics.data() + k * harmonics_per_edge;
    for (int c = 0; c < columns(); ++c) {
      const auto weight = static_cast<double>(w[c]), given = static_cast<double>(by[c]);
      double of_weight = 0;
      for (const int h : harmonics_of(c)) {
        const auto of_edge = static_cast<double>(y[h]);
        const double by_others = by_totals[h * width + c] - of_edge * given,
                     others = totals[h * width + c] - of_edge * weight;
        of_weight += of_edge * by_others;
        by_y[h] += static_cast<T>(given * others + weight * by_others);
      }
      by_w[c] += static_cast<T>(of_weight);
    }
  }
}

template <class T>
void ThreeBody<T>::pairs_back(Memory& memory) const {
  const int width = padded_columns();
  for (const Pair& pair : memory.pairs) {
    angular(pair.cosine, memory);
    const int i = pair.first * width, j = pair.second * width;
    double by_cosine = 0;
    for (int c = 0; c < columns(); ++c) {
      const auto at = static_cast<size_t>(c), first = static_cast<size_t>(i + c),
                 second = static_cast<size_t>(j + c);
      const auto value = static_cast<T>(memory.values[at]);
      memory.by_weights[second] += value * memory.by_sums[first];
      memory.by_weights[first] += value * memory.by_sums[second];
      by_cosine += memory.slopes[at] * (static_cast<double>(memory.by_sums[first] * memory.weights[second]) +
                                        static_cast<double>(memory.by_sums[second] * memory.weights[first]));
    }
    const double *a = memory.units.data() + 3 * pair.first, *b = memory.units.data() + 3 * pair.second;
    const double of_a = by_cosine / memory.lengths[static_cast<size_t>(pair.first)],
                 of_b = by_cosine / memory.lengths[static_cast<size_t>(pair.second)];
    for (int x = 0; x < 3; ++x) {
      memory.by_vectors[static_cast<size_t>(3 * pair.first + x)] +=
          static_cast<T>(of_a * (b[x] - pair.cosine * a[x]));
      memory.by_vectors[static_cast<size_t>(3 * pair.second + x)] +=
          static_cast<T>(of_b * (a[x] - pair.cosine * b[x]));
    }
  }
}

template void ThreeBody<float>::backward(const Input&, const Gradients&, int) const;
template void ThreeBody<double>::backward(const Input&, const Gradients&, int) const;

}  // namespace distmlip::native::directed
