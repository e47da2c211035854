// Copies of tensors between devices.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace distmlip::exchange {

/// Uninitialised, in memory of the host that copies to and from the device need not wait for: page-locked.
at::Tensor host_memory(at::IntArrayRef sizes, at::ScalarType dtype, at::Device device);

/// Copies messages[k][j] to devices[k], in place of the tensor that is there. The current streams of devices
/// wait for what they send and receive, not for each other's other copies; the host waits only where it is
/// one of the devices.
void copy_all(std::vector<std::vector<at::Tensor>>& messages, const std::vector<at::Device>& devices);

}  // namespace distmlip::exchange
