// The two layers of a convolution: of edges in their frames, and of sums over them.
#pragma once

#include "native/gated/projection.h"
#include "native/so2/parameters.h"

namespace distmlip::native::so2 {

using gated::Projection;

/// Degrees and orders of what goes through the layers, and how many numbers there are of each.
struct LayerShape {
  int lmax, mmax, channels, hidden;

  int n_degrees(int order) const { return lmax - order + 1; }
  int from_atoms(int order) const { return n_degrees(order) * 2 * channels; }
  int to_hidden(int order) const { return n_degrees(order) * hidden; }
  int n_gates() const { return lmax * hidden; }
  /// Of an edge between the layers, gates and all orders: [gates | order 0 | real 1 | imaginary 1 | …].
  int hidden_size() const { return n_gates() + hidden_offset(mmax + 1); }
  /// Of rows of this order, without gates.
  int hidden_offset(int order) const {
    int offset = 0;
    for (int m = 0; m < order; ++m) offset += (m == 0 ? 1 : 2) * to_hidden(m);
    return offset;
  }
  int radial_columns() const {
    int columns = 0;
    for (int m = 0; m <= mmax; ++m) columns += from_atoms(m);
    return columns;
  }
};

/// A product with a complex matrix, made of three real ones.
template <class T>
struct ComplexProjection {
  Projection<T> real, difference, minus_sum;
};

/// Weights, which mixtures of experts change with the system.
template <class T>
struct Layers {
  /// Throws std::invalid_argument for matrices that do not fit the shape.
  Layers(const Operators<T>& operators, const LayerShape& shape, const LayerParameters& parameters);

  /// Of n edges: from rows [edge] as operators.frames.into_frames writes them to rows of hidden_size().
  void first(int n, T* const* from, T* to) const;
  /// The adjoint: from gradients as operators.frames.gate_degrees_back writes them to those of order 0, of
  /// real and of imaginary parts of each order, [edge].
  void first_back(int n, T* const* gradients, T* const* to) const;

  LayerShape shape;
  Projection<T> first_of_zero;
  std::vector<ComplexProjection<T>> first_orders;
  std::vector<Projection<T>> second;                                      ///< of order 0, to each degree
  std::vector<T> second_bias;                                             ///< [degree][channels]
  std::vector<std::vector<Projection<T>>> second_real, second_imaginary;  ///< [order - 1][degree - order]
};

}  // namespace distmlip::native::so2
