#include "kernels/device/operators_on.h"
#include "kernels/device/parallel_cuda.h"

namespace distmlip::kernels {

template <class Real>
std::unique_ptr<DeviceOperators<Real>> cuda_operators(const Device& device) {
  return std::make_unique<OperatorsOn<Cuda, Real>>(device);
}

template std::unique_ptr<DeviceOperators<float>> cuda_operators(const Device&);
template std::unique_ptr<DeviceOperators<double>> cuda_operators(const Device&);

}  // namespace distmlip::kernels
