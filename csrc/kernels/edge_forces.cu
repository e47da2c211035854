#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

#include "kernels/edge_forces.h"
#include "kernels/edge_forces_inline.h"

namespace distmlip::kernels {
namespace {

struct AtomicAdd {
  __device__ void operator()(double* target, double value) const { atomicAdd(target, value); }
};

__global__ void accumulate_forces_kernel(int64_t n_edges, const int64_t* receivers, const int64_t* senders,
                                         const double* vectors, const double* gradients, double* forces,
                                         double* virials) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t edge = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; edge < n_edges;
       edge += stride) {
    accumulate_edge(receivers[edge], senders[edge], vectors + 3 * edge, gradients + 3 * edge, forces, virials,
                    AtomicAdd{});
  }
}

}  // namespace

void accumulate_forces_cuda(int64_t n_edges, const int64_t* receivers, const int64_t* senders,
                            const double* vectors, const double* gradients, double* forces, double* virials,
                            void* stream) {
  if (n_edges == 0) return;
  constexpr int64_t threads = 256, most_blocks = 65535;
  const int64_t wanted = (n_edges + threads - 1) / threads;
  const int blocks = static_cast<int>(wanted < most_blocks ? wanted : most_blocks);
  accumulate_forces_kernel<<<blocks, threads, 0, static_cast<cudaStream_t>(stream)>>>(
      n_edges, receivers, senders, vectors, gradients, forces, virials);
  const cudaError_t status = cudaGetLastError();
  if (status != cudaSuccess) {
    throw std::runtime_error(std::string("CUDA could not start the force kernel: ") +
                             cudaGetErrorString(status));
  }
}

}  // namespace distmlip::kernels
