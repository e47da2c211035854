// Who is near an atom.
#pragma once

#include <cstdint>
#include <vector>

#include "core/buffer.h"
#include "kernels/distance_filter.h"
#include "kernels/edge_geometry.h"
#include "neighbors/bins.h"

namespace distmlip::neighbors {

/// Which pairs are edges: decided in float64, from positions as given.
class EdgeRule {
 public:
  /// Pairs with a squared length below `squared_limit` (Å^2). All that is referred to must outlive the rule.
  EdgeRule(const Cell& cell, const double* positions, const Wrapped& wrapped, const Bins& bins,
           double squared_limit)
      : cell_(cell),
        positions_(positions),
        wrap_(wrapped.counts.data()),
        bins_(bins),
        squared_limit_(squared_limit) {}

  struct Edge {
    int32_t shift[3];
    Vec3 vector;
    double squared_length;
  };

  /// The edge between two atoms: vector = (x_sender − x_receiver) + shift · cell, for any whole number of
  /// cells that the atoms lie outside.
  Edge edge(int64_t receiver, int64_t sender, uint16_t shift_code) const {
    Edge edge;
    const int32_t* coded = bins_.shifts.data() + 3 * static_cast<int64_t>(shift_code);
    for (int k = 0; k < 3; ++k) edge.shift[k] = coded[k] - wrap_[3 * sender + k] + wrap_[3 * receiver + k];
    const Vec3 offset = shift_vector(cell_, edge.shift);
    for (int k = 0; k < 3; ++k) {
      edge.vector[k] =
          kernels::edge_component(positions_[3 * sender + k], positions_[3 * receiver + k], offset[k]);
    }
    edge.squared_length = kernels::squared_length(edge.vector[0], edge.vector[1], edge.vector[2]);
    return edge;
  }

  bool holds(int32_t receiver_ordinal, int32_t sender_ordinal, uint16_t shift_code) const {
    return edge(bins_.order[receiver_ordinal], bins_.order[sender_ordinal], shift_code).squared_length <
           squared_limit_;
  }

 private:
  Cell cell_;
  const double* positions_;
  const int32_t* wrap_;
  const Bins& bins_;
  double squared_limit_;
};

/// Finds the neighbours of one atom after the other; cheapest when atoms of the same bin follow each
/// other. Not for concurrent use: every thread has its own.
class NeighborSearch {
 public:
  NeighborSearch(const Bins& bins, const EdgeRule& rule)
      : bins_(bins), rule_(rule), filter_(kernels::distance_filter()) {}

  /// Moves to an atom; returns for how many hits there must be room.
  int64_t enter(int32_t ordinal);

  /// Writes ordinal and shift code of all neighbours of the atom that was entered; returns how many.
  int64_t write(kernels::Hits hits) const;

 private:
  int64_t decide(kernels::Hits hits, int64_t n_hits) const;

  void gather_candidates(int32_t bin);

  const Bins& bins_;
  const EdgeRule& rule_;
  kernels::Filter filter_;
  int32_t ordinal_ = -1, bin_ = -1;
  int64_t own_ = 0;  // where the candidates of a bin hold its own first atom
  std::vector<kernels::Run> runs_;
  Buffer<float> x_, y_, z_;
  Buffer<int32_t> candidate_ordinal_;
  Buffer<uint16_t> shift_code_;
  kernels::Candidates candidates_{};
};

/// Edges by receiver, atoms by their ordinals.
struct NeighborRows {
  Buffer<int64_t> row_begin{0};  // (n_rows + 1)
  Buffer<int32_t> sender;        // (n_edges)
  Buffer<uint16_t> shift_code;   // (n_edges)

  int64_t n_rows() const { return static_cast<int64_t>(row_begin.size()) - 1; }
};

/// Appends the neighbours of ordinals[0 … n_ordinals). The arrays of edges are kept longer than what is in
/// them: close_rows() cuts them.
void append_rows(NeighborSearch& search, const int32_t* ordinals, int64_t n_ordinals, NeighborRows& rows);
void close_rows(NeighborRows& rows);

/// Rows with room for as many edges as ordinals[0 … n_ordinals) are likely to have.
NeighborRows make_rows(const Bins& bins, const EdgeRule& rule, const int32_t* ordinals, int64_t n_ordinals);

/// The neighbours of ordinals[0 … n_ordinals), on up to n_threads threads.
NeighborRows find_rows(const Bins& bins, const EdgeRule& rule, const int32_t* ordinals, int64_t n_ordinals,
                       int n_threads);

}  // namespace distmlip::neighbors
