// One edge's virial: the same code on the CPU and on CUDA.
#pragma once

#include <cstdint>

#include "kernels/edge_forces.h"
#include "kernels/edge_geometry.h"

namespace distmlip::kernels {

/// virial (n_virial) = minus the symmetrised vector ⊗ gradient.
template <class Real>
DISTMLIP_HOST_DEVICE inline void edge_virial(const Real* vector, const double* gradient, double* virial) {
  const double x = vector[0], y = vector[1], z = vector[2];
  virial[0] = -x * gradient[0];
  virial[1] = -y * gradient[1];
  virial[2] = -z * gradient[2];
  virial[3] = -0.5 * (y * gradient[2] + z * gradient[1]);
  virial[4] = -0.5 * (x * gradient[2] + z * gradient[0]);
  virial[5] = -0.5 * (x * gradient[1] + y * gradient[0]);
}

}  // namespace distmlip::kernels
