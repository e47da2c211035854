// One edge's contribution to forces and virials: the same code on the CPU and on CUDA.
#pragma once

#include <cstdint>

#include "kernels/edge_geometry.h"

namespace distmlip::kernels {

/// `add(target, value)` is how a number is added to memory that other edges add to as well.
template <class Add>
DISTMLIP_HOST_DEVICE inline void accumulate_edge(int64_t receiver, int64_t sender, const double* vector,
                                                 const double* gradient, double* forces, double* virials,
                                                 Add add) {
  for (int k = 0; k < 3; ++k) {
    add(forces + 3 * receiver + k, gradient[k]);
    add(forces + 3 * sender + k, -gradient[k]);
  }
  if (virials == nullptr) return;
  for (int k = 0; k < 3; ++k) {
    for (int l = 0; l < 3; ++l) {
      // Half for the symmetric part, half for the share of this end.
      const double share = -0.25 * (vector[k] * gradient[l] + vector[l] * gradient[k]);
      add(virials + 9 * receiver + 3 * k + l, share);
      add(virials + 9 * sender + 3 * k + l, share);
    }
  }
}

}  // namespace distmlip::kernels
