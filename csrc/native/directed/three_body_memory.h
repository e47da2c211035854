// What three-body sums of one atom are made in.
#pragma once

#include <vector>

#include "native/directed/three_body.h"

namespace distmlip::native::directed {

constexpr int harmonics_per_edge = kernels::irreps::n_harmonics;

/// Two edges among those of an atom.
template <class T>
struct ThreeBody<T>::Pair {
  int first, second;
  double cosine;  ///< of the vectors
};

/// Of one thread: of the short edges of one atom. Rows have padded columns.
template <class T>
struct ThreeBody<T>::Memory {
  std::vector<int32_t> edges;
  std::vector<const T*> vectors;
  std::vector<double> units, lengths;  ///< units: [edge][3]
  std::vector<T> own_lengths;
  Buffer<T> harmonics, radial;  ///< radial: [edge][values, derivatives]: columns, the edge's own function
  Buffer<T> weights, sums;      ///< of each edge: what it gives others; what it gets, but for its own
  std::vector<const T*> ends;   ///< of each edge: the row of the atom that it reads
  std::vector<Pair> pairs;
  std::vector<double> values, slopes;            ///< of columns at an angle
  Buffer<double> of_harmonics, by_of_harmonics;  ///< [harmonic]: sums over edges
  typename LengthTables<T>::Places places;
  // On the way back: gradients.
  Buffer<T> by_sums, by_weights, by_harmonics, by_length;
  std::vector<T> by_vectors;
  std::vector<T*> to_vectors;

  void reserve(size_t n, size_t columns, size_t table_columns, bool keep) {
    const auto at_least = [](auto& buffer, size_t size) {
      if (buffer.size() < size + slack) buffer.resize(size + slack);
    };
    const auto rows = n + rows_per_block;
    at_least(harmonics, rows * harmonics_per_edge);
    at_least(radial, 2 * rows * table_columns);
    at_least(weights, rows * columns);
    at_least(sums, rows * columns);
    at_least(of_harmonics, harmonics_per_edge * columns);
    own_lengths.resize(rows);
    if (!keep) return;
    at_least(by_sums, rows * columns);
    at_least(by_weights, rows * columns);
    at_least(by_of_harmonics, harmonics_per_edge * columns);
    at_least(by_harmonics, rows * harmonics_per_edge);
    at_least(by_length, rows);
    by_vectors.assign(3 * rows, T(0));
    to_vectors.resize(rows);
    for (size_t k = 0; k < rows; ++k) to_vectors[k] = by_vectors.data() + 3 * k;
  }
};

}  // namespace distmlip::native::directed
