#include "kernels/device/kernels_on.h"
#include "kernels/device/parallel_cuda.h"

namespace distmlip::kernels {
namespace {

__global__ void any_kernel() {}

}  // namespace

bool has_cuda_kernels(int index) {
  cudaFuncAttributes attributes;
  const bool found =
      cudaSetDevice(index) == cudaSuccess && cudaFuncGetAttributes(&attributes, any_kernel) == cudaSuccess;
  if (!found) cudaGetLastError();  // so that nobody else is told of it
  return found;
}

std::unique_ptr<DeviceKernels> cuda_kernels(const Device& device) {
  return std::make_unique<KernelsOn<Cuda>>(device);
}

}  // namespace distmlip::kernels
