// Symmetric contractions on devices, on torch's tensors.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>

#include "kernels/device_operators.h"
#include "native/node_operators.h"

namespace distmlip::native {

/// Polynomials of each channel of rows (n, inputs, channels). Methods throw std::invalid_argument for tensors
/// of other shapes, types or devices.
class DeviceContraction {
 public:
  /// coefficients: (n_species, n_coefficients, channels), on the device.
  DeviceContraction(const MonomialLists& lists, const at::Tensor& coefficients);

  /// (n, outputs, channels); species: (n).
  at::Tensor forward(const at::Tensor& rows, const at::Tensor& species) const;
  /// Gradients of rows from those of outputs.
  at::Tensor backward(const at::Tensor& rows, const at::Tensor& species, const at::Tensor& gradients) const;

 private:
  void check_inputs(const at::Tensor& rows, const at::Tensor& species) const;
  template <class Real>
  kernels::ContractedAtoms<Real> atoms(const at::Tensor& rows, const at::Tensor& species) const;

  at::Tensor coefficients_;
  std::array<at::Tensor, 4> memory_;  // of monomials_
  kernels::Monomials monomials_{};
};

}  // namespace distmlip::native
