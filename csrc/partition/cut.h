// Who owns which atom: decided from positions, before there are edges.
#pragma once

#include <cstdint>

#include "core/buffer.h"
#include "core/cell.h"

namespace distmlip::partition {

enum class Method {
  automatic,  // slab while slabs are thick compared with the system's width, else bisection
  slab,       // parallel cuts across the longest axis
  bisection,  // cuts in two, again and again; the pieces then made rounder where that shortens their borders
};

/// What is cut. Neighbours in the order of atoms are mostly neighbours in space (bins one after another).
struct CutInput {
  const Cell& cell;
  int64_t n_atoms;
  const float *x, *y, *z;  // (n_atoms) Å, wrapped positions relative to a common origin
  const float* weights;    // (n_atoms) work per atom, finite and >= 0; all zero counts as all equal
  double cutoff;           // Å, > 0: how far an edge reaches
  int n_threads;           // 0: all that are available; the result does not depend on it
};

struct Cut {
  Buffer<int32_t> owner;  // (n_atoms)
  Method method;          // slab or bisection: what was used
};

/// Gives every atom an owner in [0, n_partitions) such that all partitions have nearly the same weight: the
/// heaviest has at most 1.03 times the mean where atoms are light compared with a partition. Partitions may
/// be empty if there are fewer atoms than partitions, or few that have weight.
Cut cut(const CutInput& input, int32_t n_partitions, Method method);

}  // namespace distmlip::partition
