#include "kernels/device/kernels_on.h"
#include "kernels/device/parallel_cuda.h"

namespace distmlip::kernels {

std::unique_ptr<DeviceKernels> cuda_kernels(const Device& device) {
  return std::make_unique<KernelsOn<Cuda>>(device);
}

}  // namespace distmlip::kernels
