// Inner loops of models on a device: what kernels/irreps does on the CPU.
#pragma once

#include <memory>

#include "kernels/device/array.h"
#include "kernels/device/step.h"
#include "kernels/device_operands.h"
#include "kernels/monomials.h"

namespace distmlip::kernels {

/// Calls are put on the device's stream one after another. Sums are taken in an order that does not change
/// from run to run. Throw std::runtime_error if the device fails.
template <class Real>
class DeviceOperators {
 public:
  virtual ~DeviceOperators() = default;

  /// messages: (n_rows, message_width), written; what no path writes is zero.
  virtual void convolve(const PathsOfDevice& paths, const ConvolvedEdges<Real>& edges, Real* messages) = 0;
  /// `sent` needs no sums; receivers: (n_edges); gradients: those of messages.
  virtual void convolve_back(const PathsOfDevice& paths, const ConvolvedEdges<Real>& edges,
                             const SentEdges& sent, const int64_t* receivers, const Real* gradients,
                             const ConvolvedGradients<Real>& out) = 0;

  /// outputs: written.
  virtual void contract(const Monomials& monomials, const ContractedAtoms<Real>& atoms, Real* outputs) = 0;
  /// gradients: of outputs; input_gradients: written.
  virtual void contract_back(const Monomials& monomials, const ContractedAtoms<Real>& atoms,
                             const Real* gradients, Real* input_gradients) = 0;

  /// messages: (n_rows, 9, n_channels), written.
  virtual void scale(const ScaledEdges<Real>& edges, Real* messages) = 0;
  /// Gradients of rows and of radial functions from those of messages; both are written.
  virtual void scale_back(const ScaledEdges<Real>& edges, const SentEdges& sent, const int64_t* receivers,
                          const Real* gradients, Real* of_rows, Real* of_radial) = 0;

  /// outputs: (n_atoms, numbers, n_channels), written.
  virtual void of_tensors(TensorOperation operation, const TensorRows<Real>& rows, Real* outputs) = 0;
  /// gradients: of outputs. Writes those of the first tensors, and of the second ones if there are any.
  virtual void of_tensors_back(TensorOperation operation, const TensorRows<Real>& rows, const Real* gradients,
                               Real* of_first, Real* of_second) = 0;

  /// messages: (n_rows, n_channels), written.
  virtual void gate(const GatedRows<Real>& rows, Real* messages) = 0;
  /// gradients (?, n_channels) of weighed messages, of which each row has one at index[row]. Writes gradients
  /// of the sums (n_rows, 2 n_hidden) and products (n_rows, n_channels) of messages and their gradients.
  virtual void gate_back(const GatedRows<Real>& rows, const MessageWeights<Real>& weights,
                         const Real* gradients, const int64_t* index, Real* of_sums, Real* products) = 0;
  /// out (n_targets, width), written: sums of rows (?, width) times weights, of that width.
  virtual void sum_rows(const SumOrder& order, int32_t width, const Real* rows,
                        const MessageWeights<Real>& weights, Real* out) = 0;
};

/// On the CPU, in the calling thread.
template <class Real>
std::unique_ptr<DeviceOperators<Real>> host_operators(const Device& device);

/// On a CUDA device that has kernels (device_kernels.h).
template <class Real>
std::unique_ptr<DeviceOperators<Real>> cuda_operators(const Device& device);

}  // namespace distmlip::kernels
