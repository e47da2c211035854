#include <stdexcept>
#include <string>

#include "kernels/device/operators_on.h"
#include "kernels/device/parallel_host.h"

namespace distmlip::kernels {

std::unique_ptr<DeviceOperators> host_operators(const Device& device) {
  return std::make_unique<OperatorsOn<Host>>(device);
}

#ifndef DISTMLIP_WITH_CUDA
std::unique_ptr<DeviceOperators> cuda_operators(const Device& device) {
  throw std::logic_error("this build has no operators for CUDA device " + std::to_string(device.index));
}
#endif

}  // namespace distmlip::kernels
