// DeviceOperators on a back end of parallel.h.
#pragma once

#include "kernels/device/contract.h"
#include "kernels/device/convolve_back.h"

namespace distmlip::kernels {

template <class Backend>
class OperatorsOn final : public DeviceOperators {
 public:
  explicit OperatorsOn(const Device& device) : device_(device), backend_(device_) {}

  void convolve(const PathsOfDevice& paths, const ConvolvedEdges<float>& edges, float* messages) override {
    kernels::convolve(backend_, paths, edges, messages);
  }
  void convolve(const PathsOfDevice& paths, const ConvolvedEdges<double>& edges, double* messages) override {
    kernels::convolve(backend_, paths, edges, messages);
  }
  void convolve_back(const PathsOfDevice& paths, const ConvolvedEdges<float>& edges, const SentEdges& sent,
                     const int64_t* receivers, const float* gradients,
                     const ConvolvedGradients<float>& out) override {
    kernels::convolve_back(backend_, paths, edges, sent, receivers, gradients, out);
  }
  void convolve_back(const PathsOfDevice& paths, const ConvolvedEdges<double>& edges, const SentEdges& sent,
                     const int64_t* receivers, const double* gradients,
                     const ConvolvedGradients<double>& out) override {
    kernels::convolve_back(backend_, paths, edges, sent, receivers, gradients, out);
  }

  void contract(const Monomials& monomials, const ContractedAtoms<float>& atoms, float* outputs) override {
    kernels::contract(backend_, monomials, atoms, outputs);
  }
  void contract(const Monomials& monomials, const ContractedAtoms<double>& atoms, double* outputs) override {
    kernels::contract(backend_, monomials, atoms, outputs);
  }
  void contract_back(const Monomials& monomials, const ContractedAtoms<float>& atoms, const float* gradients,
                     float* input_gradients) override {
    kernels::contract_back(backend_, monomials, atoms, gradients, input_gradients);
  }
  void contract_back(const Monomials& monomials, const ContractedAtoms<double>& atoms,
                     const double* gradients, double* input_gradients) override {
    kernels::contract_back(backend_, monomials, atoms, gradients, input_gradients);
  }

 private:
  Device device_;
  Backend backend_;
};

}  // namespace distmlip::kernels
