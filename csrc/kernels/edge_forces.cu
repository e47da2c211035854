#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

#include "kernels/edge_forces.h"
#include "kernels/edge_forces_inline.h"

namespace distmlip::kernels {
namespace {

template <class Real>
__device__ void accumulate_edge(const EdgeGradients<Real>& edges, const EdgeForces& out, int64_t row,
                                int64_t edge, double* force, double* row_virial) {
  const int64_t sender = edges.senders[edge];
  double gradient[3], virial[n_virial];
  for (int k = 0; k < 3; ++k) {
    gradient[k] = edges.gradients[3 * edge + k];
    force[k] += gradient[k];
    atomicAdd(out.forces + 3 * sender + k, -gradient[k]);
  }
  edge_virial(edges.vectors + 3 * edge, gradient, virial);
  for (int64_t k = 0; k < n_virial; ++k) {
    row_virial[k] += virial[k];
    if (out.virials) atomicAdd(out.virials + n_virial * sender + k, 0.5 * virial[k]);
  }
}

template <class Real>
__global__ void accumulate_forces_kernel(EdgeGradients<Real> edges, EdgeForces out) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  double total[n_virial] = {};
  for (int64_t row = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; row < edges.n_rows;
       row += stride) {
    double force[3] = {}, row_virial[n_virial] = {};
    for (int64_t edge = edges.row_begin[row]; edge < edges.row_begin[row + 1]; ++edge) {
      accumulate_edge(edges, out, row, edge, force, row_virial);
    }
    for (int k = 0; k < 3; ++k) atomicAdd(out.forces + 3 * row + k, force[k]);
    for (int64_t k = 0; k < n_virial; ++k) {
      total[k] += row_virial[k];
      if (out.virials) atomicAdd(out.virials + n_virial * row + k, 0.5 * row_virial[k]);
    }
  }
  for (int64_t k = 0; k < n_virial; ++k) atomicAdd(out.virial + k, total[k]);
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

template void accumulate_forces_cuda(const EdgeGradients<float>&, const EdgeForces&, void*);
template void accumulate_forces_cuda(const EdgeGradients<double>&, const EdgeForces&, void*);

}  // namespace distmlip::kernels
