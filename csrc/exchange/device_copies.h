// Copies of tensors between devices, all at once.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace distmlip::exchange {

/// Copies messages[k][j] to devices[k], in place of the tensor that is there. The current streams of devices
/// wait for what they send and receive, not for each other's other copies; the host waits only where it is
/// one of the devices.
void copy_all(std::vector<std::vector<at::Tensor>>& messages, const std::vector<at::Device>& devices);

}  // namespace distmlip::exchange
