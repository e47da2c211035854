// What is cut: atoms with their places and weights.
#pragma once

#include <cstdint>

#include "core/cell.h"

namespace distmlip::cut {

/// What is cut. Neighbours in the order of atoms are mostly neighbours in space (bins one after another).
struct Input {
  const Cell& cell;
  int64_t n_atoms;
  const float *x, *y, *z;  // (n_atoms) Å, positions relative to a common origin; any image of an atom will do
  const float* weights;    // (n_atoms) work per atom, finite and >= 0; all zero counts as all equal
  double cutoff;           // Å, > 0: how far an edge reaches
  int n_threads;           // 0: all that are available; the result does not depend on it
};

}  // namespace distmlip::cut
