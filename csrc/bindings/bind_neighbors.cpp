// Neighbour lists: NumPy arrays, or tensors on the device where positions are.
#include <c10/core/DeviceGuard.h>
#include <pybind11/stl.h>
#include <torch/csrc/utils/pybind.h>

#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "bindings/arrays.h"
#include "bindings/bindings.h"
#include "bindings/device_input.h"
#include "executor/device.h"
#include "neighbors/device_neighbor_list.h"
#include "neighbors/neighbor_list.h"

namespace distmlip::bindings {

DeviceInput checked_input(const at::Tensor& positions, const at::Tensor& cell,
                          const std::array<bool, 3>& periodic, double cutoff) {
  if (positions.dim() != 2 || positions.size(1) != 3) invalid("positions must have the shape (n_atoms, 3)");
  if (positions.scalar_type() != at::kFloat && positions.scalar_type() != at::kDouble) {
    invalid("positions have the type ", toString(positions.scalar_type()),
            "; they must be float32 or float64");
  }
  if (cell.dim() != 2 || cell.size(0) != 3 || cell.size(1) != 3) invalid("cell must have the shape (3, 3)");
  if (!(cutoff >= 0 && std::isfinite(cutoff)))
    invalid("cutoff is ", cutoff, " Ang; it must be finite and not negative");
  DeviceInput input{positions.detach().to(at::kDouble).contiguous(), positions.scalar_type(), {}};
  const auto rows = cell.detach().to(at::kCPU, at::kDouble).contiguous();
  std::copy_n(rows.const_data_ptr<double>(), 9, input.cell.vectors.begin());
  input.cell.periodic = periodic;
  return input;
}

namespace {

py::dict neighbor_list(const std::string& quantities, const Doubles& positions, const Doubles& cell,
                       const std::array<bool, 3>& periodic, double cutoff, bool self_interaction,
                       int n_threads) {
  const double* data = checked_positions(positions);
  if (!(cutoff >= 0 && std::isfinite(cutoff)))
    invalid("cutoff is ", cutoff, " Ang; it must be finite and not negative");
  const Cell box = cell_from(cell, periodic);
  std::unique_ptr<neighbors::NeighborList> list;
  {
    const py::gil_scoped_release release;
    list = std::make_unique<neighbors::NeighborList>(data, positions.shape(0), box, cutoff, self_interaction,
                                                     n_threads);
  }
  const py::ssize_t n_pairs = list->n_pairs();
  py::dict arrays;
  neighbors::NeighborList::Output output;
  const auto add = [&]<class Value>(char quantity, Value*& target, Shape shape) {
    auto array = new_array<Value>(shape);
    target = array.mutable_data();
    arrays[py::str(std::string(1, quantity))] = array;
  };
  for (const char quantity : quantities) {
    switch (quantity) {
      case 'i':
        add('i', output.i, {n_pairs});
        break;
      case 'j':
        add('j', output.j, {n_pairs});
        break;
      case 'd':
        add('d', output.distance, {n_pairs});
        break;
      case 'D':
        add('D', output.vector, {n_pairs, 3});
        break;
      case 'S':
        add('S', output.shift, {n_pairs, 3});
        break;
      default:
        invalid("quantities has '", std::string(1, quantity), "'; it may have the letters of 'ijdDS'");
    }
  }
  {
    const py::gil_scoped_release release;
    list->write(output);
  }
  return arrays;
}

/// An output tensor per quantity that is asked for.
class Outputs {
 public:
  Outputs(const DeviceInput& input, int64_t n_pairs)
      : options_(input.positions.options()), n_pairs_(n_pairs) {}

  template <class T>
  T* add(const std::string& name, int64_t width = 0) {
    const auto options = options_.dtype(c10::CppTypeToScalarType<T>::value);
    auto tensor = width == 0 ? at::empty({n_pairs_}, options) : at::empty({n_pairs_, width}, options);
    tensors[name] = tensor;
    return tensor.template mutable_data_ptr<T>();
  }

  std::map<std::string, at::Tensor> tensors;

 private:
  at::TensorOptions options_;
  int64_t n_pairs_;
};

template <class Real>
std::map<std::string, at::Tensor> pairs(const std::string& quantities,
                                        const neighbors::DeviceNeighborList& list, const DeviceInput& input) {
  Outputs outputs(input, list.n_pairs());
  kernels::PairArrays<Real> arrays{};
  for (const char quantity : quantities) {
    const std::string name(1, quantity);
    switch (quantity) {
      case 'i':
        arrays.i = outputs.add<int64_t>(name);
        break;
      case 'j':
        arrays.j = outputs.add<int64_t>(name);
        break;
      case 'd':
        arrays.distance = outputs.add<Real>(name);
        break;
      case 'D':
        arrays.vector = outputs.add<Real>(name, 3);
        break;
      case 'S':
        arrays.shift = outputs.add<int32_t>(name, 3);
        break;
      default:
        invalid("quantities has '", name, "'; it may have the letters of 'ijdDS'");
    }
  }
  list.write(arrays);
  return std::move(outputs.tensors);
}

std::map<std::string, at::Tensor> device_neighbor_list(const std::string& quantities,
                                                       const at::Tensor& positions, const at::Tensor& cell,
                                                       const std::array<bool, 3>& periodic, double cutoff,
                                                       bool self_interaction) {
  const DeviceInput input = checked_input(positions, cell, periodic, cutoff);
  const c10::DeviceGuard guard(positions.device());
  const auto kernels = executor::kernels_on(positions.device());
  const neighbors::DeviceNeighborList list(*kernels, input.positions.const_data_ptr<double>(),
                                           input.positions.size(0), input.cell, cutoff, self_interaction);
  return input.dtype == at::kFloat ? pairs<float>(quantities, list, input)
                                   : pairs<double>(quantities, list, input);
}

std::map<std::string, at::Tensor> device_neighbor_rows(const at::Tensor& positions, const at::Tensor& cell,
                                                       const std::array<bool, 3>& periodic, double cutoff) {
  const DeviceInput input = checked_input(positions, cell, periodic, cutoff);
  const c10::DeviceGuard guard(positions.device());
  const auto kernels = executor::kernels_on(positions.device());
  const neighbors::DeviceNeighborList list(*kernels, input.positions.const_data_ptr<double>(),
                                           input.positions.size(0), input.cell, cutoff,
                                           /*self_interaction=*/false);
  Outputs outputs(input, list.n_pairs());
  kernels::PairArrays<double> arrays{};
  arrays.sender = outputs.add<int32_t>("sender");
  arrays.shift_code = outputs.add<uint16_t>("shift_code");
  list.write(arrays);
  outputs.tensors["row_begin"] = executor::tensor_of(list.begin());
  outputs.tensors["wrap"] = executor::tensor_of(list.wrap()).view({input.positions.size(0), 3});
  outputs.tensors["shifts"] = at::tensor(list.shifts(), at::kInt).view({-1, 3}).to(positions.device());
  return std::move(outputs.tensors);
}

}  // namespace

void bind_neighbors(py::module_& module) {
  module.def("neighbor_list", &neighbor_list, py::arg("quantities"), py::arg("positions"), py::arg("cell"),
             py::arg("periodic"), py::arg("cutoff"), py::arg("self_interaction"), py::arg("n_threads") = 0,
             "A new array per letter of quantities, by letter, as ase.neighborlist.neighbor_list has them.");
  module.def("device_neighbor_list", &device_neighbor_list, py::arg("quantities"), py::arg("positions"),
             py::arg("cell"), py::arg("periodic"), py::arg("cutoff"), py::arg("self_interaction") = false,
             py::call_guard<py::gil_scoped_release>(),
             "A new tensor per letter of quantities, by letter, on the device of positions.");
  module.def("device_neighbor_rows", &device_neighbor_rows, py::arg("positions"), py::arg("cell"),
             py::arg("periodic"), py::arg("cutoff"), py::call_guard<py::gil_scoped_release>(),
             "The same pairs in 6 bytes each: row_begin, sender and shift_code; code c is the shift\n"
             "shifts[c] - wrap[sender] + wrap[receiver].");
}

}  // namespace distmlip::bindings
