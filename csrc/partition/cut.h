// Who owns which atom: decided from positions, before there are edges.
#pragma once

#include <cstdint>
#include <vector>

#include "core/cell.h"
#include "graph/bins.h"

namespace distmlip::partition {

enum class Method {
  automatic,  // slab while slabs are thick compared with the system's width, else bisection
  slab,       // parallel cuts across the longest axis
  bisection,  // cuts in two, again and again, each across the longest axis of what is cut
};

/// What is cut.
struct CutInput {
  const Cell& cell;
  const graph::Bins& bins;
  const double* wrapped;  // (n_atoms, 3) positions inside the cell
  const double* weights;  // (n_atoms) work per atom, or null: estimated from the bins
  double cutoff;          // Å, the scale on which space counts as empty
};

struct Cut {
  std::vector<int32_t> owner;  // (n_atoms)
  Method method;               // slab or bisection: what was used
};

/// Gives every atom an owner in [0, n_partitions) such that all partitions have nearly the same weight.
/// Partitions may be empty.
Cut cut(const CutInput& input, int32_t n_partitions, Method method);

}  // namespace distmlip::partition
