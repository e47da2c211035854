// Edges of some receivers on their way through the operators of a stage.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "core/buffer.h"
#include "native/matrix.h"

namespace distmlip::native {

/// Of several receivers: what an operator reads of tables is then read again while it is in the cache.
constexpr int edges_per_block = 256;
constexpr int receivers_per_block = 8;

/// The edges of a receiver in a block, or as many of them as there is room for.
struct Receiver {
  int atom;  ///< in the block of atoms
  int first, n;
};

template <class T>
struct EdgeBlock {
  EdgeBlock() { harmonics.resize(edges_per_block * kernels::irreps::n_harmonics + slack); }

  int n = 0;
  std::vector<Receiver> receivers;
  std::array<int64_t, edges_per_block> edges;          ///< of the partition
  std::array<int32_t, edges_per_block> senders;        ///< local rows
  std::array<int32_t, edges_per_block> by_cell;        ///< edges of the block, those of one cell together
  std::array<int32_t, edges_per_block> cells;          ///< of tables, of the edges in that order
  std::array<int32_t, edges_per_block> species_pairs;  ///< receiver's · n_species + sender's
  std::array<int32_t, edges_per_block> pairs;          ///< undirected, of the partition; unused with tables
  std::array<T, edges_per_block> lengths;              ///< Å
  std::array<const T*, edges_per_block> vectors;
  Buffer<T> harmonics;    ///< [edge][n_harmonics]
  Buffer<T> polynomials;  ///< [edge, by cell][per][most_coefficients]

  // On the way back.
  Buffer<T> harmonic_gradients;
  std::array<T, edges_per_block + slack> length_gradients;

  std::vector<int32_t> places;  ///< scratch of sorting

  // Scratch of operators.
  Buffer<T> couplings, coupling_gradients, weights;
  std::vector<const T*> a = std::vector<const T*>(edges_per_block),
                        rows = std::vector<const T*>(2 * edges_per_block);
  std::vector<T*> b = std::vector<T*>(edges_per_block);
  std::vector<T*> c = std::vector<T*>(2 * edges_per_block);
};

/// Makes room, if there is less.
template <class T>
T* room(Buffer<T>& buffer, int64_t size) {
  if (buffer.size() < static_cast<size_t>(size + slack)) buffer.resize(static_cast<size_t>(size + slack));
  return buffer.data();
}

/// Before the way back of its edges.
template <class T>
void clear_gradients(EdgeBlock<T>& edges) {
  constexpr int per_edge = kernels::irreps::n_harmonics;
  std::fill_n(room(edges.harmonic_gradients, edges_per_block * per_edge), edges.n * per_edge, T(0));
  std::fill_n(edges.length_gradients.data(), edges.n, T(0));
}

}  // namespace distmlip::native
