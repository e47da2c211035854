// Operators of equivariant models on devices, by themselves.
#include <pybind11/stl.h>
#include <torch/csrc/utils/pybind.h>

#include <array>
#include <optional>

#include "bindings/bindings.h"
#include "native/device/contraction.h"
#include "native/device/convolution.h"
#include "native/device/gated_messages.h"
#include "native/device/tensors.h"

namespace py = pybind11;

namespace distmlip::bindings {
namespace {

using no_gil = py::call_guard<py::gil_scoped_release>;

void bind_tensors(py::module_& module) {
  using native::DeviceTensorFunction;
  module.def("scale_on_device", &native::scale_on_device, py::arg("edges"), py::arg("rows"),
             py::arg("radial"), no_gil(), "Messages of tensors (n_local, 9, channels), summed at receivers.");
  module.def("scale_back_on_device", &native::scale_back_on_device, py::arg("edges"), py::arg("rows"),
             py::arg("radial"), py::arg("gradients"), no_gil(), "Gradients of rows and radial functions.");
  py::class_<DeviceTensorFunction>(module, "DeviceTensorFunction",
                                   "A function of one or two tensors of rank two, (n, 9, channels).")
      .def(py::init<const std::string&>(), py::arg("name"))
      .def("forward", &DeviceTensorFunction::forward, py::arg("tensors"), no_gil(), "(n, numbers, channels)")
      .def("backward", &DeviceTensorFunction::backward, py::arg("tensors"), py::arg("gradient"), no_gil(),
           "Gradients of the tensors.");
}

void bind_gates(py::module_& module) {
  using native::DeviceGate;
  using native::DeviceMessages;
  py::class_<DeviceMessages>(module, "DeviceMessages",
                             "Who receives messages of rows, and which rows of tables they read.")
      .def(py::init<const DeviceMessages::Index&, const std::vector<DeviceMessages::Index>&,
                    const std::vector<DeviceMessages::Index>&>(),
           py::arg("receivers"), py::arg("sums"), py::arg("weights"));
  py::class_<DeviceGate>(module, "DeviceGate",
                         "silu(core) * sigmoid(gate) of sums of table rows [core | gate], times weights.")
      .def(py::init([](int64_t channels, const std::optional<std::array<at::Tensor, 2>>& hidden,
                       const std::optional<std::array<at::Tensor, 2>>& norm, double epsilon) {
             std::optional<DeviceGate::Hidden> layers;
             std::optional<DeviceGate::Norm> scaled;
             if (hidden) layers = {(*hidden)[0], (*hidden)[1]};
             if (norm) scaled = {(*norm)[0], (*norm)[1], epsilon};
             return DeviceGate(channels, layers, scaled);
           }),
           py::kw_only(), py::arg("channels"), py::arg("hidden"), py::arg("norm"), py::arg("epsilon"))
      .def("forward", &DeviceGate::forward, py::arg("rows"), py::arg("tables"), py::arg("weights"), no_gil(),
           "Messages, summed at receivers.")
      .def("backward", &DeviceGate::backward, py::arg("rows"), py::arg("tables"), py::arg("weights"),
           py::arg("gradients"), no_gil(), "Gradients of tables and of weights.");
}

}  // namespace

void bind_operators(py::module_& module) {
  using native::DeviceContraction;
  using native::DeviceConvolution;
  using native::DeviceEdges;
  py::class_<DeviceEdges>(module, "DeviceEdges", "Edges on one device, by receiver, and who sends which.")
      .def(py::init<int64_t, int64_t, const at::Tensor&, const at::Tensor&>(), py::arg("n_rows"),
           py::arg("n_local"), py::arg("senders"), py::arg("receivers"));
  py::class_<DeviceConvolution>(
      module, "DeviceConvolution",
      "A convolution of 'uvu' paths (irrep of senders, irrep of the message, first channel there). Rows are "
      "[2l+1][channels] for each irrep (degree, channels).")
      .def(py::init([](const DeviceConvolution::Irreps& senders, const DeviceConvolution::Irreps& message,
                       const std::vector<std::array<int, 3>>& paths, at::Device device) {
             std::vector<DeviceConvolution::Path> all;
             for (const auto& [from, to, first_channel] : paths) all.push_back({from, to, first_channel});
             return DeviceConvolution(senders, message, all, device);
           }),
           py::arg("senders"), py::arg("message"), py::arg("paths"), py::arg("device"))
      .def_property_readonly("n_weights", &DeviceConvolution::n_weights)
      .def_property_readonly("n_couplings", &DeviceConvolution::n_couplings)
      .def("forward", &DeviceConvolution::forward, py::arg("edges"), py::arg("rows"), py::arg("weights"),
           py::arg("couplings"), no_gil(), "Messages, summed at receivers.")
      .def("backward", &DeviceConvolution::backward, py::arg("edges"), py::arg("rows"), py::arg("weights"),
           py::arg("couplings"), py::arg("gradients"), no_gil(), "Gradients of rows, weights and couplings.");
  py::class_<DeviceContraction>(
      module, "DeviceContraction",
      "Polynomials of each channel of rows (n, n_inputs, channels); coefficients: (n_species, n_monomials, "
      "channels).")
      .def(py::init([](int n_inputs, int n_outputs, const std::vector<int>& outputs,
                       const std::vector<std::vector<int>>& inputs, const at::Tensor& coefficients) {
             return DeviceContraction(native::monomial_lists(outputs, inputs, n_outputs, n_inputs),
                                      coefficients);
           }),
           py::arg("n_inputs"), py::arg("n_outputs"), py::arg("outputs"), py::arg("inputs"),
           py::arg("coefficients"))
      .def("forward", &DeviceContraction::forward, py::arg("rows"), py::arg("species"), no_gil(),
           "(n, n_outputs, channels)")
      .def("backward", &DeviceContraction::backward, py::arg("rows"), py::arg("species"),
           py::arg("gradients"), no_gil(), "Gradients of rows.");
  bind_tensors(module);
  bind_gates(module);
}

}  // namespace distmlip::bindings
