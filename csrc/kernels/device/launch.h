// How a kernel is started. For .cu files.
#pragma once

#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

namespace distmlip::kernels {

constexpr int threads_per_block = 256;

/// Throws std::runtime_error if `status` is an error.
inline void check_cuda(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // or the next one who asks is told of it again
  throw std::runtime_error(std::string("CUDA could not ") + what + ": " + cudaGetErrorString(status));
}

template <class Kernel, class... Arguments>
void launch(Kernel kernel, unsigned blocks, cudaStream_t stream, const Arguments&... arguments) {
  kernel<<<blocks, threads_per_block, 0, stream>>>(arguments...);
  check_cuda(cudaGetLastError(), "start a kernel");
}

}  // namespace distmlip::kernels
