#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

#include "kernels/edge_forces.h"

namespace distmlip::kernels {
namespace {

/// A thread per row.
template <class Real>
__global__ void accumulate_forces_kernel(EdgeGradients<Real> edges, EdgeForces out) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  double total[3][3] = {};
  for (int64_t row = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; row < edges.n_rows;
       row += stride) {
    double force[3] = {}, virial[3][3] = {};
    for (int64_t edge = edges.row_begin[row]; edge < edges.row_begin[row + 1]; ++edge) {
      const int64_t sender = edges.senders[edge];
      for (int l = 0; l < 3; ++l) {
        const double gradient = edges.gradients[3 * edge + l];
        force[l] += gradient;
        atomicAdd(out.forces + 4 * sender + l, -gradient);
        for (int k = 0; k < 3; ++k) {
          const double share = gradient * edges.vectors[3 * edge + k];
          virial[k][l] -= share;
          if (out.virials) atomicAdd(out.virials + 12 * sender + 4 * k + l, -0.5 * share);
        }
      }
    }
    for (int l = 0; l < 3; ++l) {
      atomicAdd(out.forces + 4 * row + l, force[l]);
      for (int k = 0; k < 3; ++k) {
        total[k][l] += virial[k][l];
        if (out.virials) atomicAdd(out.virials + 12 * row + 4 * k + l, 0.5 * virial[k][l]);
      }
    }
  }
  for (int k = 0; k < 3; ++k) {
    for (int l = 0; l < 3; ++l) atomicAdd(out.virial + 4 * k + l, total[k][l]);
  }
}

}  // namespace

template <class Real>
void accumulate_forces_cuda(const EdgeGradients<Real>& edges, const EdgeForces& out, void* stream) {
  if (edges.n_rows == 0) return;
  constexpr int64_t threads = 128, most_blocks = 65535;
  const int64_t wanted = (edges.n_rows + threads - 1) / threads;
  const int blocks = static_cast<int>(wanted < most_blocks ? wanted : most_blocks);
  accumulate_forces_kernel<<<blocks, threads, 0, static_cast<cudaStream_t>(stream)>>>(edges, out);
  const cudaError_t status = cudaGetLastError();
  if (status != cudaSuccess) {
    throw std::runtime_error(std::string("CUDA could not start the force kernel: ") +
                             cudaGetErrorString(status));
  }
}

template void accumulate_forces_cuda<float>(const EdgeGradients<float>&, const EdgeForces&, void*);
template void accumulate_forces_cuda<double>(const EdgeGradients<double>&, const EdgeForces&, void*);

}  // namespace distmlip::kernels
