#include "core/error.h"
#include "kernels/device/kernels_on.h"

namespace distmlip::kernels {

std::unique_ptr<DeviceKernels> host_kernels(const Device& device) {
  return std::make_unique<KernelsOn<Host>>(device);
}

#ifndef DISTMLIP_WITH_CUDA
std::unique_ptr<DeviceKernels> cuda_kernels(const Device& device) {
  invalid("CUDA device ", device.index,
          " is asked for, but this build has no CUDA kernels: build it where nvcc "
          "is found");
}
#endif

}  // namespace distmlip::kernels
