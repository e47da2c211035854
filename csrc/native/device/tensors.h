// TensorNet's operators on devices, on torch's tensors. Throw std::invalid_argument for tensors of other
// shapes, types or devices.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <string>
#include <vector>

#include "native/device/edges.h"

namespace distmlip::native {

/// Messages (n_rows, 9, channels) of rows (n_local, 9, channels) and radial functions (n_edges, 3, channels),
/// of the numbers of degree 0, 1 and 2.
at::Tensor scale_on_device(const DeviceEdges& edges, const at::Tensor& rows, const at::Tensor& radial);
/// Gradients of rows and radial functions from those of messages.
std::array<at::Tensor, 2> scale_back_on_device(const DeviceEdges& edges, const at::Tensor& rows,
                                               const at::Tensor& radial, const at::Tensor& gradients);

/// A function of kernels/tensor_functions.h, of one tensor or two, (n, 9, channels) each.
class DeviceTensorFunction {
 public:
  explicit DeviceTensorFunction(const std::string& name);

  /// (n, numbers, channels)
  at::Tensor forward(const std::vector<at::Tensor>& tensors) const;
  /// Gradients of the tensors from that of what the function gives.
  std::vector<at::Tensor> backward(const std::vector<at::Tensor>& tensors, const at::Tensor& gradient) const;

 private:
  void check_inputs(const std::vector<at::Tensor>& tensors) const;
  at::Tensor outputs(const at::Tensor& tensor) const;

  kernels::TensorOperation operation_;
  size_t n_tensors_ = 0;
  int64_t n_numbers_ = 0;  ///< of what it gives
};

}  // namespace distmlip::native
