// Forces and virials from the gradients of the energy with respect to edge vectors.
#pragma once

#include <cstdint>

namespace distmlip::kernels {

/// For every edge with gradient g = dE/dvector:
///   forces[receiver] += g,  forces[sender] -= g,
/// and, if `virials` is not null, to either end minus half of the symmetrised vector ⊗ g.
///
/// receivers, senders: (n_edges,) local rows; vectors, gradients: (n_edges, 3);
/// forces: (n_local, 3) and virials: (n_local, 9), both added to.
void accumulate_forces(int64_t n_edges, const int64_t* receivers, const int64_t* senders,
                       const double* vectors, const double* gradients, double* forces, double* virials);

/// The same on a CUDA device; all pointers are device memory, `stream` is a cudaStream_t. The order of
/// additions is not fixed. Throws std::runtime_error if the launch fails. Present in a CUDA build only.
void accumulate_forces_cuda(int64_t n_edges, const int64_t* receivers, const int64_t* senders,
                            const double* vectors, const double* gradients, double* forces, double* virials,
                            void* stream);

}  // namespace distmlip::kernels
