// Edges of a partition in frames of their own, block by block.
#pragma once

#include <array>
#include <memory>
#include <span>

#include "native/edge_topology.h"
#include "native/radial_basis.h"
#include "native/so2/radial.h"
#include "native/so2/rotations.h"

namespace distmlip::native::so2 {

/// The edges that a model's limit of neighbours leaves.
template <class T>
struct KeptEdges {
  /// `kept`: ascending indices of edges. Throws std::invalid_argument for what does not fit the graph, and
  /// for elements of which there is none in `numbers`.
  KeptEdges(const executor::NativeGraph& graph, const at::Tensor& kept, const std::vector<int>& numbers);

  EdgeTopology topology;
  const T* vectors;              ///< (n_edges, 3)
  std::vector<int32_t> edges;    ///< kept
  std::vector<int64_t> first;    ///< of each owned atom, in `edges`, and the end
  std::vector<int32_t> species;  ///< of each local row
};

/// Receivers whose edges go through tables together, and whose messages are added up before they go through
/// the last layer.
struct Receivers {
  int64_t first;
  int n;
};
/// Chunks do not depend on the number of threads.
constexpr int receivers_per_chunk = 32;

/// A block of edges. Memory of one thread.
template <class T>
struct FrameBlock {
  int n = 0, per = 1;
  std::array<int32_t, edges_per_block> edges, senders, receivers, pairs;  ///< receivers: in the chunk
  std::array<double, edges_per_block> lengths;
  std::array<ValueAndSlope, edges_per_block> envelopes;
  std::vector<double> rotations;            ///< [edge]
  Buffer<T> rounded;                        ///< the same
  Buffer<T> radial;                         ///< [edge][per]
  Buffer<T> coefficients, by_coefficients;  ///< [edge]
  typename RadialFunctions<T>::Memory functions;
};

/// Of a row of an atom.
constexpr int degree_of(int row) {
  int degree = 0;
  while ((degree + 1) * (degree + 1) <= row) ++degree;
  return degree;
}

template <class T>
class Edges {
 public:
  /// `mmax`: of what messages are made of. Throws std::invalid_argument for what does not fit together.
  Edges(const Operators<T>& operators, const EdgeParameters& parameters, int mmax);

  const std::vector<int>& numbers() const { return numbers_; }
  const RadialFunctions<T>& radial() const { return radial_; }
  int lmax() const { return lmax_; }
  int channels() const { return channels_; }
  int row_size() const { return (lmax_ + 1) * (lmax_ + 1) * channels_; }  ///< of an atom
  kernels::irreps::Turns<T> turns() const { return {all_turns_.data(), first_turns_.data()}; }
  FrameBlock<T> block() const;

  /// Positions in `kept.edges`; those that read the same tables together.
  std::vector<int32_t> ordered(const KeptEdges<T>& kept, const Receivers& receivers) const;
  /// Fills all of the block but gradients; per == 2: with derivatives of radial functions.
  void fill(const KeptEdges<T>& kept, const Receivers& receivers, std::span<const int32_t> positions, int per,
            FrameBlock<T>& block) const;

  /// What rows in the frame are multiplied with on their way back out of it, times the envelope. Of order 0:
  /// for each row of an atom. Of order m: for the rows of degrees from m on, which get [of real parts] and
  /// [of imaginary parts] of both products of a complex matrix.
  int n_coefficients() const { return n_coefficients_; }
  /// Rows of an atom that have a part of this order.
  int n_rows(int order) const { return (lmax_ + 1) * (lmax_ + 1) - order * order; }
  /// The gradient of an edge's vector: from block.by_coefficients, and gradients by turns and by the length.
  void write_gradient(const FrameBlock<T>& block, int edge, const T* by_turns_and_length, T* vectors) const;

 private:
  void find_coefficients(const double* rotations, double envelope, T* to) const;
  /// From gradients of coefficients to those of matrices.
  void coefficients_back(const T* gradients, std::vector<double>& by_rotations) const;

  std::vector<int> numbers_;
  int lmax_, mmax_, channels_, n_coefficients_;
  double factor_;
  Envelope envelope_;
  Rotations rotations_;
  std::vector<kernels::irreps::Turn<T>> all_turns_;  ///< of rows that messages are made of
  std::vector<int> first_turns_;
  RadialFunctions<T> radial_;
};

}  // namespace distmlip::native::so2
