#include "kernels/device/operators_on.h"
#include "kernels/device/parallel_cuda.h"

namespace distmlip::kernels {

std::unique_ptr<DeviceOperators> cuda_operators(const Device& device) {
  return std::make_unique<OperatorsOn<Cuda>>(device);
}

}  // namespace distmlip::kernels
