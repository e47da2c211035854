// The neighbour list of a whole system, in the order of its atoms.
#pragma once

#include <cstdint>
#include <vector>

#include "core/cell.h"
#include "neighbors/neighbor_search.h"

namespace distmlip::neighbors {

/// All pairs (i, j, shift) with |x_j − x_i + shift · cell| < cutoff, positions as given, also outside the
/// cell; sorted by i. Pairs of an atom with its own periodic images are included.
class NeighborList {
 public:
  /// positions: (n_atoms, 3) Å, kept by reference. With `self_interaction` every atom is a neighbour of
  /// itself too.
  /// Throws std::invalid_argument for positions that are not finite or a cell without volume.
  NeighborList(const double* positions, int64_t n_atoms, const Cell& cell, double cutoff,
               bool self_interaction, int n_threads);

  int64_t n_pairs() const { return first_pair_.back(); }

  /// Where each quantity goes; null where it is not wanted. All (n_pairs) or (n_pairs, 3).
  struct Output {
    int64_t* i = nullptr;
    int64_t* j = nullptr;
    double* distance = nullptr;
    double* vector = nullptr;
    int64_t* shift = nullptr;
  };
  void write(const Output& output) const;

 private:
  void write_atom(int64_t atom, int64_t row, const Output& output) const;
  static void write_pair(int64_t other, const EdgeRule::Edge& edge, int64_t pair, const Output& output);

  bool with_self_;
  int n_threads_;
  Wrapped wrapped_;
  Bins bins_;
  EdgeRule rule_;
  NeighborRows rows_;
  std::vector<int32_t> row_of_atom_;
  std::vector<int64_t> first_pair_;  // (n_atoms + 1)
};

}  // namespace distmlip::neighbors
