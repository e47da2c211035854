// Neighbour lists of tensors, on the device where they are.
#include <ATen/ATen.h>
#include <c10/core/DeviceGuard.h>
#include <pybind11/stl.h>
#include <torch/csrc/utils/pybind.h>

#include <array>
#include <cmath>
#include <string>

#include "bindings/bindings.h"
#include "core/error.h"
#include "executor/device.h"
#include "neighbors/device_neighbor_list.h"
#include "partition/device_local_graph.h"

namespace py = pybind11;

namespace distmlip::bindings {
namespace {

/// What a neighbour list on a device is made from.
struct Input {
  at::Tensor positions;  // (n_atoms, 3) float64
  at::ScalarType dtype;  // of the vectors
  Cell cell;
};

Input checked(const at::Tensor& positions, const at::Tensor& cell, const std::array<bool, 3>& periodic,
              double cutoff) {
  if (positions.dim() != 2 || positions.size(1) != 3) invalid("positions must have the shape (n_atoms, 3)");
  if (positions.scalar_type() != at::kFloat && positions.scalar_type() != at::kDouble) {
    invalid("positions have the type ", toString(positions.scalar_type()),
            "; they must be float32 or float64");
  }
  if (cell.dim() != 2 || cell.size(0) != 3 || cell.size(1) != 3) invalid("cell must have the shape (3, 3)");
  if (!(cutoff >= 0 && std::isfinite(cutoff))) {
    invalid("cutoff is ", cutoff, " Ang; it must be finite and not negative");
  }
  Input input{positions.detach().to(at::kDouble).contiguous(), positions.scalar_type(), {}};
  const auto rows = cell.detach().to(at::kCPU, at::kDouble).contiguous();
  std::copy_n(rows.const_data_ptr<double>(), 9, input.cell.vectors.begin());
  input.cell.periodic = periodic;
  return input;
}

/// An output tensor per quantity that is asked for.
class Outputs {
 public:
  Outputs(const Input& input, int64_t n_pairs) : options_(input.positions.options()), n_pairs_(n_pairs) {}

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
                                        const neighbors::DeviceNeighborList& list, const Input& input) {
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
  const Input input = checked(positions, cell, periodic, cutoff);
  const c10::DeviceGuard guard(positions.device());
  const auto kernels = executor::kernels_on(positions.device());
  const neighbors::DeviceNeighborList list(*kernels, input.positions.const_data_ptr<double>(),
                                           input.positions.size(0), input.cell, cutoff, self_interaction);
  return input.dtype == at::kFloat ? pairs<float>(quantities, list, input)
                                   : pairs<double>(quantities, list, input);
}

std::map<std::string, at::Tensor> device_neighbor_rows(const at::Tensor& positions, const at::Tensor& cell,
                                                       const std::array<bool, 3>& periodic, double cutoff) {
  const Input input = checked(positions, cell, periodic, cutoff);
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

std::map<std::string, at::Tensor> device_local_graph(const at::Tensor& positions, const at::Tensor& cell,
                                                     const std::array<bool, 3>& periodic, double radius,
                                                     const at::Tensor& owner, int32_t n_partitions,
                                                     int32_t partition) {
  const Input input = checked(positions, cell, periodic, radius);
  if (!(radius > 0)) invalid("radius is ", radius, " Ang; it must be above 0");
  if (partition < 0 || partition >= n_partitions) {
    invalid("partition is ", partition, "; it must be between 0 and ", n_partitions - 1);
  }
  if (owner.sizes() != at::IntArrayRef{input.positions.size(0)})
    invalid("owner must have the shape (n_atoms,)");
  const at::Tensor owners = owner.to(positions.device(), at::kInt).contiguous();
  const c10::DeviceGuard guard(positions.device());
  const auto kernels = executor::kernels_on(positions.device());
  const auto graph = partition::build_on_device(
      *kernels, input.cell, input.positions.const_data_ptr<double>(), input.positions.size(0), radius,
      {owners.const_data_ptr<int32_t>(), n_partitions, partition});
  return {{"owned", executor::tensor_of(graph.rows.owned)},
          {"halo", executor::tensor_of(graph.rows.halo)},
          {"row_begin", executor::tensor_of(graph.rows.row_begin)},
          {"sender", executor::tensor_of(graph.rows.sender)},
          {"shift_code", executor::tensor_of(graph.rows.shift_code)},
          {"wrap", executor::tensor_of(graph.atoms.wrapped.counts).view({-1, 3})},
          {"shifts", at::tensor(graph.atoms.shifts, at::kInt).view({-1, 3}).to(positions.device())}};
}

/// Throws unless `rows` are rows of `tensor`, which is contiguous and has as many numbers in each as `other`.
void check_rows(const at::Tensor& tensor, const at::Tensor& rows, const at::Tensor& other) {
  if (rows.dim() != 1 || rows.scalar_type() != at::kLong || rows.device() != tensor.device()) {
    invalid("rows must be a 1-D int64 tensor on ", tensor.device().str());
  }
  if (tensor.dim() != 2 || !tensor.is_contiguous() || !rows.is_contiguous() || !other.is_contiguous()) {
    invalid("rows are of contiguous tensors with the shape (n, width)");
  }
  if (rows.numel() > 0 && (rows.min().item<int64_t>() < 0 || rows.max().item<int64_t>() >= tensor.size(0))) {
    invalid("rows reach from ", rows.min().item<int64_t>(), " to ", rows.max().item<int64_t>(),
            ", but there are ", tensor.size(0));
  }
}

at::Tensor device_gather_rows(const at::Tensor& from, const at::Tensor& rows) {
  check_rows(from, rows, from);
  at::Tensor to = at::empty({rows.size(0), from.size(1)}, from.options());
  const c10::DeviceGuard guard(from.device());
  executor::kernels_on(from.device())
      ->gather_rows(rows.size(0), from.size(1) * from.element_size(), rows.const_data_ptr<int64_t>(),
                    from.const_data_ptr(), to.mutable_data_ptr());
  return to;
}

void device_add_rows(const at::Tensor& to, const at::Tensor& rows, const at::Tensor& from) {
  check_rows(to, rows, from);
  if (from.sizes() != at::IntArrayRef{rows.size(0), to.size(1)} || from.scalar_type() != to.scalar_type() ||
      from.device() != to.device()) {
    invalid(
        "what is added must have the shape (n_rows, width), and the type and device of what it is added to");
  }
  const c10::DeviceGuard guard(to.device());
  const auto kernels = executor::kernels_on(to.device());
  const auto add = [&]<class Value>(const Value* values, Value* sums) {
    kernels->add_rows(rows.size(0), to.size(1), rows.const_data_ptr<int64_t>(), values, sums);
  };
  if (to.scalar_type() == at::kFloat) {
    add(from.const_data_ptr<float>(), to.mutable_data_ptr<float>());
  } else if (to.scalar_type() == at::kDouble) {
    add(from.const_data_ptr<double>(), to.mutable_data_ptr<double>());
  } else if (to.scalar_type() == at::kBFloat16) {
    add(static_cast<const uint16_t*>(from.const_data_ptr()), static_cast<uint16_t*>(to.mutable_data_ptr()));
  } else {
    invalid("rows of type ", toString(to.scalar_type()),
            " cannot be added; float32, float64 and bfloat16 can");
  }
}

}  // namespace

void bind_device(py::module_& module) {
  module.def("device_neighbor_list", &device_neighbor_list, py::arg("quantities"), py::arg("positions"),
             py::arg("cell"), py::arg("periodic"), py::arg("cutoff"), py::arg("self_interaction") = false,
             py::call_guard<py::gil_scoped_release>(),
             "A new tensor per letter of quantities, by letter, on the device of positions.");
  module.def("device_neighbor_rows", &device_neighbor_rows, py::arg("positions"), py::arg("cell"),
             py::arg("periodic"), py::arg("cutoff"), py::call_guard<py::gil_scoped_release>(),
             "The same pairs in 6 bytes each: row_begin, sender and shift_code; code c is the shift\n"
             "shifts[c] - wrap[sender] + wrap[receiver].");
  module.def(
      "device_local_graph", &device_local_graph, py::arg("positions"), py::arg("cell"), py::arg("periodic"),
      py::arg("radius"), py::arg("owner"), py::arg("n_partitions"), py::arg("partition"),
      py::call_guard<py::gil_scoped_release>(),
      "The rows of one partition by receiver, as device_neighbor_rows has those of all atoms: owned and\n"
      "halo atoms, halo grouped by owner; senders are local rows.");
  module.def("device_gather_rows", &device_gather_rows, py::arg("source"), py::arg("rows"),
             py::call_guard<py::gil_scoped_release>(), "source[rows]");
  module.def("device_add_rows", &device_add_rows, py::arg("target"), py::arg("rows"), py::arg("values"),
             py::call_guard<py::gil_scoped_release>(), "target[rows] += values; no row may be named twice.");
}

}  // namespace distmlip::bindings
