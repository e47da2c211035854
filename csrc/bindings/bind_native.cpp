// Native stages, put together in Python (distmlip/models/native.py).
#include <pybind11/stl.h>
#include <torch/csrc/utils/pybind.h>

#include <memory>
#include <optional>
#include <string>

#include "bindings/bindings.h"
#include "bindings/native_parts.h"
#include "bindings/python_stages.h"
#include "native/stage_builder.h"

namespace py = pybind11;

namespace distmlip::bindings {
namespace {

using Irreps = std::vector<std::pair<int, int>>;

native::Layout layout_of(const Irreps& irreps) {
  std::vector<native::Irrep> all;
  for (const auto& [degree, channels] : irreps) all.push_back({degree, channels});
  return native::Layout(all);
}

std::vector<native::LinearMap> maps_of(const std::vector<Map>& maps) {
  std::vector<native::LinearMap> all;
  for (const Map& map : maps) all.push_back({map.from, map.to, matrices_of(map.weights)});
  return all;
}

native::Order order_of(bool by_component) {
  return by_component ? native::Order::components : native::Order::channels;
}

/// What the builder calls functions of tensors.
template <class T>
typename native::StageBuilder<T>::TensorFunction tensor_function(const std::string& name) {
  using Operators = native::Operators<T>;
  if (name == "of_harmonics") return &Operators::of_harmonics;
  if (name == "norm") return &Operators::norm;
  if (name == "norms") return &Operators::norms;
  if (name == "normalised") return &Operators::normalised;
  invalid("no function of tensors is called '", name, "'");
}
template <class T>
typename native::StageBuilder<T>::TensorFunction2 tensor_function2(const std::string& name) {
  using Operators = native::Operators<T>;
  if (name == "anticommutator") return &Operators::anticommutator;
  if (name == "twice_product") return &Operators::twice_product;
  if (name == "plus_square") return &Operators::plus_square;
  invalid("no function of two tensors is called '", name, "'");
}

template <class T>
int add_network(native::StageBuilder<T>& builder, const native::RadialBasis& basis,
                const std::vector<Doubles>& layers, double silu_factor, const std::vector<Doubles>& groups) {
  return builder.network({basis, matrices_of(layers), silu_factor, native::RadialNetwork::Functions::groups,
                          matrices_of(groups)});
}

template <class T>
int add_convolution(native::StageBuilder<T>& builder, int senders, int radial, const Irreps& message,
                    const std::vector<Path>& paths) {
  std::vector<native::ConvolutionPath> all;
  for (const Path& path : paths)
    all.push_back({path.from, path.to, path.first_channel, path.group, matrix_of(path.couplings)});
  return builder.convolution(senders, radial, layout_of(message), all);
}

/// Functions of the length, and what receivers get from their edges.
template <class T>
void bind_edges(py::class_<native::StageBuilder<T>>& type) {
  using Builder = native::StageBuilder<T>;
  type.def(
          "tables",
          [](Builder& builder, int n_coefficients, const std::vector<int>& columns,
             const std::vector<int>& of_pair, const std::vector<Doubles>& cells) {
            return builder.tables({n_coefficients, columns, of_pair, matrices_of(cells)});
          },
          py::arg("n_coefficients"), py::arg("columns"), py::arg("of_pair"), py::arg("cells"))
      .def("network", &add_network<T>, py::arg("basis"), py::arg("layers"), py::arg("silu_factor"),
           py::arg("groups"))
      .def(
          "hidden",
          [](Builder& builder, const native::RadialBasis& basis, const std::vector<Doubles>& layers,
             double silu_factor, std::vector<int> columns, double cutoff) {
            native::RadialNetwork network{basis, matrices_of(layers), silu_factor,
                                          native::RadialNetwork::Functions::hidden};
            network.columns = std::move(columns);
            if (cutoff > 0) network.damping = {native::Envelope::Kind::cosine, cutoff};
            return builder.network(std::move(network));
          },
          py::arg("basis"), py::arg("layers"), py::arg("silu_factor"),
          py::arg("columns") = std::vector<int>(), py::arg("cosine_cutoff") = 0.0)
      .def(
          "density",
          [](Builder& builder, const native::RadialBasis& basis, const Doubles& weights) {
            return builder.network(
                {basis, {matrix_of(weights)}, 1, native::RadialNetwork::Functions::density});
          },
          py::arg("basis"), py::arg("weights"))
      .def("convolution", &add_convolution<T>, py::arg("senders"), py::arg("radial"), py::arg("message"),
           py::arg("paths"))
      .def(
          "expansion",
          [](Builder& builder, int radial, const Irreps& message, const std::vector<int>& groups) {
            return builder.expansion(radial, layout_of(message), groups);
          },
          py::arg("radial"), py::arg("message"), py::arg("groups"))
      .def("edge_sum", &Builder::edge_sum, py::arg("radial"))
      .def("scaling", &Builder::scaling, py::arg("senders"), py::arg("radial"), py::arg("groups"))
      .def("repulsion", &Builder::repulsion, py::arg("repulsion"));
}

template <class T>
void bind_builder(py::module_& module, const char* name) {
  using Builder = native::StageBuilder<T>;
  py::class_<Builder> type(
      module, name,
      "Puts a native stage together; calls return the number of a register (or of radial "
      "functions). Irreps are pairs (degree, channels).");
  bind_edges(type);
  type.def(py::init<std::vector<int>, int, native::Cells>(), py::arg("numbers"), py::arg("sign"),
           py::arg("cells"))
      .def(
          "input",
          [](Builder& builder, const std::string& tensor, const Irreps& irreps, bool of_senders,
             bool by_component) {
            return builder.input(tensor, layout_of(irreps), of_senders, order_of(by_component));
          },
          py::arg("name"), py::arg("irreps"), py::arg("of_senders"), py::arg("by_component") = false)
      .def("own_rows", &Builder::own_rows, py::arg("senders"))
      .def(
          "constant",
          [](Builder& builder, const Irreps& irreps, const Doubles& of_species) {
            return builder.constant(layout_of(irreps), matrix_of(of_species));
          },
          py::arg("irreps"), py::arg("of_species"))
      .def(
          "linear",
          [](Builder& builder, int source, const Irreps& irreps, const std::vector<Map>& maps) {
            return builder.linear(source, layout_of(irreps), maps_of(maps));
          },
          py::arg("source"), py::arg("irreps"), py::arg("maps"))
      .def(
          "add_linear",
          [](Builder& builder, int source, int target, const std::vector<Map>& maps) {
            builder.add_linear(source, target, maps_of(maps));
          },
          py::arg("source"), py::arg("target"), py::arg("maps"))
      .def(
          "contraction",
          [](Builder& builder, int source, const Irreps& irreps, const std::vector<int>& outputs,
             const std::vector<std::vector<int>>& inputs, const std::vector<Doubles>& coefficients) {
            return builder.contraction(source, layout_of(irreps), outputs, inputs, matrices_of(coefficients));
          },
          py::arg("source"), py::arg("irreps"), py::arg("outputs"), py::arg("inputs"),
          py::arg("coefficients"))
      .def(
          "gate",
          [](Builder& builder, int source, const Irreps& irreps, const std::vector<native::Gated>& segments) {
            return builder.gate(source, layout_of(irreps), segments);
          },
          py::arg("source"), py::arg("irreps"), py::arg("segments"))
      .def("normalised", &Builder::normalised, py::arg("source"), py::arg("density"))
      .def("layer_norm", &Builder::layer_norm, py::arg("source"), py::arg("scales"), py::arg("shifts"),
           py::arg("epsilon"))
      .def(
          "of_tensors",
          [](Builder& builder, const std::string& function, int source, const Irreps& irreps) {
            return builder.of_tensors(tensor_function<T>(function), source, layout_of(irreps));
          },
          py::arg("function"), py::arg("source"), py::arg("irreps"))
      .def(
          "of_two_tensors",
          [](Builder& builder, const std::string& function, int first, int second) {
            return builder.of_tensors(tensor_function2<T>(function), first, second);
          },
          py::arg("function"), py::arg("first"), py::arg("second"))
      .def(
          "output",
          [](Builder& builder, const std::string& tensor, int source, bool in_float64, bool is_flat,
             double factor, double shift, bool by_component) {
            builder.output({tensor, source, in_float64, is_flat, factor, shift, order_of(by_component)});
          },
          py::arg("name"), py::arg("source"), py::kw_only(), py::arg("in_float64") = false,
          py::arg("is_flat") = false, py::arg("factor") = 1.0, py::arg("shift") = 0.0,
          py::arg("by_component") = false)
      .def("constant_output", &Builder::constant_output, py::arg("name"), py::arg("of_species"))
      .def("edge_count_output", &Builder::edge_count_output, py::arg("name"))
      .def("stage", &Builder::stage, "Ends the building.");
}

/// A pullback for Python: as that of distmlip/models/stages.py.
py::cpp_function pullback_of(executor::Pullback pullback) {
  return py::cpp_function([pullback = std::move(pullback)](const executor::Tensors& output_gradients) {
    executor::Gradients gradients;
    {
      const py::gil_scoped_release no_gil;
      gradients = pullback(output_gradients, 1);
    }
    return std::pair(gradients.inputs, gradients.vectors);
  });
}

}  // namespace

void bind_native(py::module_& module) {
  bind_native_parts(module);
  bind_builder<float>(module, "StageBuilder32");
  bind_builder<double>(module, "StageBuilder64");
  py::class_<executor::NativeStage, std::shared_ptr<executor::NativeStage>>(
      module, "NativeStage", "A stage that runs without Python.")
      .def(
          "run",
          [](const executor::NativeStage& stage, int64_t n_owned, const at::Tensor& numbers,
             const at::Tensor& senders, const at::Tensor& receivers, const at::Tensor& vectors,
             const executor::Tensors& inputs, bool keep, const py::object& bonds) {
            const executor::NativeGraph graph{n_owned,   numbers, senders,
                                              receivers, vectors, native_bonds_of(bonds)};
            executor::StageOutput output;
            {
              const py::gil_scoped_release no_gil;
              output = stage.run(graph, inputs, keep, 1);
            }
            return py::make_tuple(output.tensors, pullback_of(std::move(output.pullback)));
          },
          py::arg("n_owned"), py::arg("numbers"), py::arg("senders"), py::arg("receivers"),
          py::arg("vectors"), py::arg("inputs"), py::arg("keep"), py::arg("bonds") = py::none(),
          "As Stage.run, on one thread.");
}

}  // namespace distmlip::bindings
