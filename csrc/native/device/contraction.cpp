#include "native/device/contraction.h"

#include <ATen/ATen.h>
#include <c10/core/DeviceGuard.h>

#include "executor/device.h"
#include "native/device/inputs.h"

namespace distmlip::native {

DeviceContraction::DeviceContraction(const MonomialLists& lists, const at::Tensor& coefficients)
    : coefficients_(coefficients) {
  if (coefficients.dim() != 3 || coefficients.size(1) != lists.n_coefficients ||
      !coefficients.is_contiguous())
    invalid("coefficients must be contiguous, with the shape (n_species, ", lists.n_coefficients,
            ", channels)");
  const at::Device device = coefficients.device();
  memory_ = {bytes_of(lists.n_firsts, device), bytes_of(lists.firsts, device), bytes_of(lists.pairs, device),
             bytes_of(lists.triples, device)};
  using kernels::Monomials;
  monomials_ = {list_in<int32_t>(memory_[0]),
                list_in<Monomials::First>(memory_[1]),
                list_in<Monomials::Pair>(memory_[2]),
                list_in<int16_t>(memory_[3]),
                static_cast<int>(lists.n_firsts.size()),
                lists.n_inputs};
}

void DeviceContraction::check_inputs(const at::Tensor& rows, const at::Tensor& species) const {
  if (rows.dim() != 3) invalid("rows must have the shape (n, ", monomials_.n_inputs, ", channels)");
  check("rows", rows, {rows.size(0), monomials_.n_inputs, coefficients_.size(2)}, coefficients_);
  check_indices("species", species, coefficients_.size(0));
  if (species.numel() != rows.size(0) || species.device() != rows.device())
    invalid(species.numel(), " species on ", species.device().str(), " of ", rows.size(0), " atoms on ",
            rows.device().str());
}

template <class Real>
kernels::ContractedAtoms<Real> DeviceContraction::atoms(const at::Tensor& rows,
                                                        const at::Tensor& species) const {
  return {rows.size(0),
          static_cast<int32_t>(rows.size(2)),
          static_cast<int32_t>(coefficients_.size(1)),
          species.const_data_ptr<int64_t>(),
          coefficients_.const_data_ptr<Real>(),
          rows.const_data_ptr<Real>()};
}

at::Tensor DeviceContraction::forward(const at::Tensor& rows, const at::Tensor& species) const {
  check_inputs(rows, species);
  at::Tensor outputs = at::empty({rows.size(0), monomials_.n_outputs, rows.size(2)}, rows.options());
  const c10::DeviceGuard guard(rows.device());
  of_type(rows, [&]<class Real>(Real /*type*/) {
    executor::operators_on<Real>(rows.device())
        ->contract(monomials_, atoms<Real>(rows, species), outputs.mutable_data_ptr<Real>());
  });
  return outputs;
}

at::Tensor DeviceContraction::backward(const at::Tensor& rows, const at::Tensor& species,
                                       const at::Tensor& gradients) const {
  check_inputs(rows, species);
  check("gradients", gradients, {rows.size(0), monomials_.n_outputs, rows.size(2)}, rows);
  at::Tensor of_rows = at::empty_like(rows);
  const c10::DeviceGuard guard(rows.device());
  of_type(rows, [&]<class Real>(Real /*type*/) {
    executor::operators_on<Real>(rows.device())
        ->contract_back(monomials_, atoms<Real>(rows, species), gradients.const_data_ptr<Real>(),
                        of_rows.mutable_data_ptr<Real>());
  });
  return of_rows;
}

}  // namespace distmlip::native
