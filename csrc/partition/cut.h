// Who owns which atom: decided from positions, before there are edges.
#pragma once

#include <cstdint>
#include <vector>

#include "core/buffer.h"
#include "core/cell.h"

namespace distmlip::partition {

enum class Method {
  automatic,  // slab while slabs are thick compared with the system's width, else bisection
  slab,       // parallel cuts across the longest axis
  bisection,  // cuts in two, again and again, each across the longest axis of what is cut
};

/// What is cut: atoms in an order in which neighbours mostly are neighbours in space.
struct CutInput {
  const Cell& cell;
  int64_t n_atoms;
  const float *x, *y, *z;  // (n_atoms) Å, positions moved next to each other, relative to a common origin
  const float* weights;    // (n_atoms) work per atom, >= 0
  double cutoff;           // Å, reach of an edge
  int n_threads;
};

struct Cut {
  Buffer<int32_t> owner;  // (n_atoms)
  Method method;          // slab or bisection: what was used
};

/// Gives every atom an owner in [0, n_partitions) such that all partitions have nearly the same weight.
/// Partitions may be empty.
Cut cut(const CutInput& input, int32_t n_partitions, Method method);

}  // namespace distmlip::partition
