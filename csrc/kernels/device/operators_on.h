// DeviceOperators on a back end of parallel.h.
#pragma once

#include "kernels/device/contract.h"
#include "kernels/device/convolve_back.h"
#include "kernels/device/gate_back.h"
#include "kernels/device/scale.h"
#include "kernels/device/sum_rows.h"
#include "kernels/device/tensors.h"

namespace distmlip::kernels {

template <class Backend, class Real>
class OperatorsOn final : public DeviceOperators<Real> {
 public:
  explicit OperatorsOn(const Device& device) : device_(device), backend_(device_) {}

  void convolve(const PathsOfDevice& paths, const ConvolvedEdges<Real>& edges, Real* messages) override {
    kernels::convolve(backend_, paths, edges, messages);
  }
  void convolve_back(const PathsOfDevice& paths, const ConvolvedEdges<Real>& edges, const SentEdges& sent,
                     const int64_t* receivers, const Real* gradients,
                     const ConvolvedGradients<Real>& out) override {
    kernels::convolve_back(backend_, paths, edges, sent, receivers, gradients, out);
  }

  void contract(const Monomials& monomials, const ContractedAtoms<Real>& atoms, Real* outputs) override {
    kernels::contract(backend_, monomials, atoms, outputs);
  }
  void contract_back(const Monomials& monomials, const ContractedAtoms<Real>& atoms, const Real* gradients,
                     Real* input_gradients) override {
    kernels::contract_back(backend_, monomials, atoms, gradients, input_gradients);
  }

  void scale(const ScaledEdges<Real>& edges, Real* messages) override {
    kernels::scale(backend_, edges, messages);
  }
  void scale_back(const ScaledEdges<Real>& edges, const SentEdges& sent, const int64_t* receivers,
                  const Real* gradients, Real* of_rows, Real* of_radial) override {
    kernels::scale_back(backend_, edges, sent, receivers, gradients, of_rows, of_radial);
  }

  void of_tensors(TensorOperation operation, const TensorRows<Real>& rows, Real* outputs) override {
    kernels::of_tensors(backend_, operation, rows, outputs);
  }
  void of_tensors_back(TensorOperation operation, const TensorRows<Real>& rows, const Real* gradients,
                       Real* of_first, Real* of_second) override {
    kernels::of_tensors_back(backend_, operation, rows, gradients, of_first, of_second);
  }

  void gate(const GatedRows<Real>& rows, Real* messages) override { kernels::gate(backend_, rows, messages); }
  void gate_back(const GatedRows<Real>& rows, const MessageWeights<Real>& weights, const Real* gradients,
                 const int64_t* index, Real* of_sums, Real* products) override {
    kernels::gate_back(backend_, rows, weights, {gradients, index}, of_sums, products);
  }
  void sum_rows(const SumOrder& order, int32_t width, const Real* rows, const MessageWeights<Real>& weights,
                Real* out) override {
    kernels::sum_rows(backend_, order, width, rows, weights, out);
  }

 private:
  Device device_;
  Backend backend_;
};

}  // namespace distmlip::kernels
