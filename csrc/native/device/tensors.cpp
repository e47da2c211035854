#include "native/device/tensors.h"

#include <ATen/ATen.h>
#include <c10/core/DeviceGuard.h>

#include <map>

#include "executor/device.h"
#include "kernels/tensor_algebra.h"
#include "native/device/inputs.h"

namespace distmlip::native {

using kernels::n_tensor;

namespace {

/// Throws unless rows and radial functions fit the edges.
void check_scaled(const DeviceEdges& edges, const at::Tensor& rows, const at::Tensor& radial) {
  if (rows.dim() != 3) invalid("rows must have the shape (", edges.n_local, ", ", n_tensor, ", channels)");
  if (rows.device() != edges.device())
    invalid("rows are on ", rows.device().str(), ", but edges on ", edges.device().str());
  check("rows", rows, {edges.n_local, n_tensor, rows.size(2)}, rows);
  check("radial", radial, {edges.n_edges(), 3, rows.size(2)}, rows);
}

template <class Real>
kernels::ScaledEdges<Real> scaled(const DeviceEdges& edges, const at::Tensor& rows,
                                  const at::Tensor& radial) {
  return {edges.n_rows,
          edges.n_edges(),
          static_cast<int32_t>(rows.size(2)),
          edges.row_begin(),
          edges.senders(),
          rows.const_data_ptr<Real>(),
          radial.const_data_ptr<Real>()};
}

struct Known {
  kernels::TensorOperation operation;
  size_t n_tensors;
  int64_t n_numbers;
};
using enum kernels::TensorOperation;
const std::map<std::string, Known> functions{{"of_harmonics", {of_harmonics, 1, n_tensor}},
                                             {"norm", {norm, 1, 1}},
                                             {"norms", {norms, 1, 3}},
                                             {"normalised", {normalised, 1, n_tensor}},
                                             {"anticommutator", {anticommutator, 2, n_tensor}},
                                             {"twice_product", {twice_product, 2, n_tensor}},
                                             {"plus_square", {plus_square, 2, n_tensor}}};

template <class Real>
kernels::TensorRows<Real> rows_of(const std::vector<at::Tensor>& tensors) {
  return {tensors[0].size(0), static_cast<int32_t>(tensors[0].size(2)), tensors[0].const_data_ptr<Real>(),
          tensors.size() > 1 ? tensors[1].const_data_ptr<Real>() : nullptr};
}

}  // namespace

at::Tensor scale_on_device(const DeviceEdges& edges, const at::Tensor& rows, const at::Tensor& radial) {
  check_scaled(edges, rows, radial);
  at::Tensor messages = at::empty({edges.n_rows, n_tensor, rows.size(2)}, rows.options());
  const c10::DeviceGuard guard(rows.device());
  of_type(rows, [&]<class Real>(Real /*type*/) {
    executor::operators_on<Real>(rows.device())
        ->scale(scaled<Real>(edges, rows, radial), messages.mutable_data_ptr<Real>());
  });
  return messages;
}

std::array<at::Tensor, 2> scale_back_on_device(const DeviceEdges& edges, const at::Tensor& rows,
                                               const at::Tensor& radial, const at::Tensor& gradients) {
  check_scaled(edges, rows, radial);
  check("gradients", gradients, {edges.n_rows, n_tensor, rows.size(2)}, rows);
  std::array<at::Tensor, 2> out{at::empty_like(rows), at::empty_like(radial)};
  const c10::DeviceGuard guard(rows.device());
  of_type(rows, [&]<class Real>(Real /*type*/) {
    executor::operators_on<Real>(rows.device())
        ->scale_back(scaled<Real>(edges, rows, radial), edges.sent(), edges.receivers(),
                     gradients.const_data_ptr<Real>(), out[0].mutable_data_ptr<Real>(),
                     out[1].mutable_data_ptr<Real>());
  });
  return out;
}

DeviceTensorFunction::DeviceTensorFunction(const std::string& name) {
  const auto found = functions.find(name);
  if (found == functions.end()) invalid("no function of tensors is called '", name, "'");
  operation_ = found->second.operation;
  n_tensors_ = found->second.n_tensors;
  n_numbers_ = found->second.n_numbers;
}

void DeviceTensorFunction::check_inputs(const std::vector<at::Tensor>& tensors) const {
  if (tensors.size() != n_tensors_) invalid(tensors.size(), " tensors for a function of ", n_tensors_);
  if (tensors[0].dim() != 3) invalid("tensors must have the shape (n, ", n_tensor, ", channels)");
  for (const at::Tensor& tensor : tensors)
    check("tensors", tensor, {tensors[0].size(0), n_tensor, tensors[0].size(2)}, tensors[0]);
}

at::Tensor DeviceTensorFunction::outputs(const at::Tensor& tensor) const {
  return at::empty({tensor.size(0), n_numbers_, tensor.size(2)}, tensor.options());
}

at::Tensor DeviceTensorFunction::forward(const std::vector<at::Tensor>& tensors) const {
  check_inputs(tensors);
  at::Tensor out = outputs(tensors[0]);
  const c10::DeviceGuard guard(out.device());
  of_type(out, [&]<class Real>(Real /*type*/) {
    executor::operators_on<Real>(out.device())
        ->of_tensors(operation_, rows_of<Real>(tensors), out.mutable_data_ptr<Real>());
  });
  return out;
}

std::vector<at::Tensor> DeviceTensorFunction::backward(const std::vector<at::Tensor>& tensors,
                                                       const at::Tensor& gradient) const {
  check_inputs(tensors);
  check("gradient", gradient, {tensors[0].size(0), n_numbers_, tensors[0].size(2)}, tensors[0]);
  std::vector<at::Tensor> out;
  for (const at::Tensor& tensor : tensors) out.push_back(at::empty_like(tensor));
  const c10::DeviceGuard guard(gradient.device());
  of_type(gradient, [&]<class Real>(Real /*type*/) {
    executor::operators_on<Real>(gradient.device())
        ->of_tensors_back(operation_, rows_of<Real>(tensors), gradient.const_data_ptr<Real>(),
                          out[0].mutable_data_ptr<Real>(),
                          n_tensors_ > 1 ? out[1].mutable_data_ptr<Real>() : nullptr);
  });
  return out;
}

}  // namespace distmlip::native
