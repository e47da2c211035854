// Operators of equivariant models on devices, by themselves.
#include <pybind11/stl.h>
#include <torch/csrc/utils/pybind.h>

#include <array>

#include "bindings/bindings.h"
#include "native/device_contraction.h"
#include "native/device_convolution.h"

namespace py = pybind11;

namespace distmlip::bindings {

void bind_operators(py::module_& module) {
  using native::DeviceContraction;
  using native::DeviceConvolution;
  using native::DeviceEdges;
  using no_gil = py::call_guard<py::gil_scoped_release>;
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
}

}  // namespace distmlip::bindings
