// Convolutions of eSEN and UMA: rows of both atoms of an edge go, in its frame, through a layer whose input
// is weighted by radial functions, gates, and a second layer; receivers add up what leaves the frame.
//
// The second layer and the way out of the frame are linear: sums over edges are made before that layer, for
// each row of the receiver and whatever the layer reads, so that it is applied to receivers, not to edges.
// Derivatives of rotations are those by turns of the frame (native/so2/rotations.h).
#pragma once

#include "native/gated/row_sums.h"
#include "native/so2/edges.h"
#include "native/so2/layers.h"

namespace distmlip::native::so2 {

template <class T>
class Convolution {
 public:
  /// Throws std::invalid_argument for what does not fit together.
  Convolution(const Operators<T>& operators, const ConvolutionParameters& parameters);

  const LayerShape& shape() const { return shape_; }
  const Edges<T>& edges() const { return edges_; }
  /// Numbers that an edge keeps for the way back, if it keeps any.
  int kept_per_edge() const { return shape_.hidden_size(); }

  struct Input {
    const KeptEdges<T>& kept_edges;
    const Layers<T>& layers;
    const T* atoms;  ///< (n_local, row_size)
    T* kept;         ///< (n_kept_edges, kept_per_edge); null: nothing is kept
  };
  /// Writes messages (n_owned, row_size).
  void forward(const Input& input, T* messages, int n_threads) const;
  /// From gradients of messages: adds to those of atoms, writes those of vectors of kept edges.
  void backward(const Input& input, const T* by_messages, T* by_atoms, T* by_vectors, int n_threads) const;

 private:
  struct Memory;
  void sum_up(const Input& input, const Receivers& receivers, Memory& memory) const;
  void enter_frames(const Input& input, Memory& memory) const;
  void add_to_sums(const Receivers& receivers, Memory& memory) const;
  void apply_second(const Layers<T>& layers, const Receivers& receivers, T* messages, Memory& memory) const;
  void second_back(const Layers<T>& layers, const Receivers& receivers, const T* by_messages,
                   Memory& memory) const;
  void edges_back(const Input& input, const Receivers& receivers, T* by_vectors, Memory& memory) const;
  void sums_back(const Receivers& receivers, Memory& memory) const;
  /// Calls f(layer, offset of its rows among sums, adds) for what the second layer reads for a row of degree
  /// l.
  template <class F>
  void for_each_second(const Layers<T>& layers, int degree, int row, const Memory& memory, F f) const;

  /// Sums of one order: those of real, then of imaginary products, for each row of a receiver.
  int n_sums(int order) const { return (order == 0 ? 1 : 2) * edges_.n_rows(order); }
  /// From one to the next one, [receiver]; with a gap: powers of two would all meet in the same cache lines.
  int64_t sum_stride(int order) const {
    return int64_t{receivers_per_chunk} * shape_.to_hidden(order) + kernels::irreps::padding;
  }

  const Operators<T>& operators_;
  LayerShape shape_;
  Edges<T> edges_;
};

}  // namespace distmlip::native::so2
