#include <stdexcept>
#include <string>

#include "kernels/device/operators_on.h"
#include "kernels/device/parallel_host.h"

namespace distmlip::kernels {

template <class Real>
std::unique_ptr<DeviceOperators<Real>> host_operators(const Device& device) {
  return std::make_unique<OperatorsOn<Host, Real>>(device);
}

template std::unique_ptr<DeviceOperators<float>> host_operators(const Device&);
template std::unique_ptr<DeviceOperators<double>> host_operators(const Device&);

#ifndef DISTMLIP_WITH_CUDA
template <class Real>
std::unique_ptr<DeviceOperators<Real>> cuda_operators(const Device& device) {
  throw std::logic_error("this build has no operators for CUDA device " + std::to_string(device.index));
}

template std::unique_ptr<DeviceOperators<float>> cuda_operators(const Device&);
template std::unique_ptr<DeviceOperators<double>> cuda_operators(const Device&);
#endif

}  // namespace distmlip::kernels
