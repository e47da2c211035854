// The neighbour list of a whole system, in the order of its atoms.
#pragma once

#include <cstdint>
#include <vector>

#include "core/buffer.h"
#include "core/cell.h"

namespace distmlip::graph {

/// All pairs (i, j, shift) with |x_j − x_i + shift · cell| < cutoff, positions as given, also outside the
/// cell; sorted by i. Pairs of an atom with its own periodic images are included.
class NeighborList {
 public:
  /// positions: (n_atoms, 3) Å. With `self_interaction` every atom is a neighbour of itself too.
  /// Throws std::invalid_argument for positions that are not finite or a cell without volume.
  NeighborList(const double* positions, int64_t n_atoms, const Cell& cell, double cutoff,
               bool self_interaction);

  int64_t n_pairs() const { return first_pair_.empty() ? 0 : first_pair_.back(); }

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
  struct Candidate {
    int32_t atom;
    uint16_t code;
  };
  void search();
  void count_pairs();
  template <class Visit>
  void for_each_pair(int64_t atom, Visit visit) const;

  const double* positions_;
  int64_t n_atoms_;
  Cell cell_;
  double squared_limit_;
  double cutoff_;
  bool self_interaction_;
  std::vector<int32_t> wrap_;
  std::vector<int32_t> shifts_;
  std::vector<int64_t> row_;         // (n_atoms) first candidate of each atom
  std::vector<int32_t> row_length_;  // (n_atoms)
  Buffer<Candidate> candidates_;
  std::vector<int64_t> first_pair_;  // (n_atoms + 1)
};

}  // namespace distmlip::graph
