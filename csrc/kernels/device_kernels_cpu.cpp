#include <stdexcept>
#include <string>

#include "kernels/device/kernels_on.h"
#include "kernels/device/parallel_host.h"

namespace distmlip::kernels {

std::unique_ptr<DeviceKernels> host_kernels(const Device& device) {
  return std::make_unique<KernelsOn<Host>>(device);
}

#ifndef DISTMLIP_WITH_CUDA
bool has_cuda_kernels(int /*index*/) { return false; }

std::unique_ptr<DeviceKernels> cuda_kernels(const Device& device) {
  throw std::logic_error("this build has no kernels for CUDA device " + std::to_string(device.index));
}
#endif

}  // namespace distmlip::kernels
