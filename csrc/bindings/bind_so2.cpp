// Convolutions of eSEN and UMA, as distmlip/models/fairchem/native.py describes them.
#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <utility>

#include "bindings/bindings.h"
#include "bindings/native_parts.h"
#include "native/so2/stages.h"

namespace py = pybind11;

namespace distmlip::bindings {
namespace {

namespace so2 = native::so2;
using Numbers = std::vector<double>;

// Parameters that keep their arrays.
struct RadialNetwork {
  Numbers centres;
  double exponent;
  std::vector<Doubles> layers;
  Doubles pair_biases;
  std::vector<Numbers> biases;
  std::vector<so2::NormParameters> norms;
};

struct PairTables {
  Numbers ends;
  std::vector<Doubles> cells;
};

struct Edges {
  std::vector<int> numbers;
  int lmax, channels;
  double cutoff;
  int envelope_power;
  double factor;
  int columns;
  std::optional<RadialNetwork> network;
  std::optional<PairTables> tables;

  so2::EdgeParameters parameters() const {
    so2::EdgeParameters of{numbers, lmax, channels, cutoff, envelope_power, factor, {}};
    of.radial.columns = columns;
    if (tables) {
      of.radial.ends = tables->ends;
      of.radial.cells = matrices_of(tables->cells);
    } else if (network) {
      of.radial.centres = network->centres;
      of.radial.exponent = network->exponent;
      of.radial.layers = matrices_of(network->layers);
      of.radial.pair_biases = matrix_of(network->pair_biases);
      of.radial.biases = network->biases;
      of.radial.norms = network->norms;
    }
    return of;
  }
};

struct Order {
  Doubles real, difference, minus_sum;
};

void use(so2::ConvolutionStage& stage, const Doubles& first, const Numbers& first_bias,
         const std::vector<Order>& first_orders, const std::vector<Doubles>& second,
         const Numbers& second_bias, const std::vector<std::vector<Doubles>>& second_real,
         const std::vector<std::vector<Doubles>>& second_imaginary) {
  so2::LayerParameters layers;
  layers.first = matrix_of(first);
  layers.first_bias = first_bias;
  for (const Order& order : first_orders)
    layers.first_orders.push_back(
        {matrix_of(order.real), matrix_of(order.difference), matrix_of(order.minus_sum)});
  layers.second = matrices_of(second);
  layers.second_bias = second_bias;
  for (const auto& matrices : second_real) layers.second_real.push_back(matrices_of(matrices));
  for (const auto& matrices : second_imaginary) layers.second_imaginary.push_back(matrices_of(matrices));
  stage.use(layers);
}

}  // namespace

void bind_so2(py::module_& module) {
  py::class_<so2::NormParameters>(module, "RadialNorm", "Of a layer of a radial network.")
      .def(py::init<Numbers, Numbers, double>(), py::arg("scales"), py::arg("shifts"), py::arg("epsilon"));
  py::class_<RadialNetwork>(module, "GaussianNetwork", "Functions of the length and of a pair of elements.")
      .def(py::init<Numbers, double, std::vector<Doubles>, Doubles, std::vector<Numbers>,
                    std::vector<so2::NormParameters>>(),
           py::kw_only(), py::arg("centres"), py::arg("exponent"), py::arg("layers"), py::arg("pair_biases"),
           py::arg("biases"), py::arg("norms"));
  py::class_<PairTables>(module, "PairTables", "The same, as Chebyshev polynomials on cells.")
      .def(py::init<Numbers, std::vector<Doubles>>(), py::kw_only(), py::arg("ends"), py::arg("cells"));
  py::class_<Edges>(module, "FrameEdges", "What all edges of a convolution, or of a degree embedding, have.")
      .def(py::init<std::vector<int>, int, int, double, int, double, int, std::optional<RadialNetwork>,
                    std::optional<PairTables>>(),
           py::kw_only(), py::arg("numbers"), py::arg("lmax"), py::arg("channels"), py::arg("cutoff"),
           py::arg("envelope_power"), py::arg("factor"), py::arg("columns"), py::arg("network") = py::none(),
           py::arg("tables") = py::none());
  py::class_<Order>(module, "ComplexMatrix", "A layer on rows of one order, as three real matrices.")
      .def(py::init<Doubles, Doubles, Doubles>(), py::kw_only(), py::arg("real"), py::arg("difference"),
           py::arg("minus_sum"));
  py::class_<so2::ConvolutionStage, executor::NativeStage, std::shared_ptr<so2::ConvolutionStage>>(
      module, "SO2Convolution", "A stage whose layers can be given anew; at first it has none.")
      .def("use", &use, py::kw_only(), py::arg("first"), py::arg("first_bias"), py::arg("first_orders"),
           py::arg("second"), py::arg("second_bias"), py::arg("second_real"), py::arg("second_imaginary"),
           "From now on these layers; csrc/native/so2/parameters.h says what they are.");
  module.def(
      "so2_convolution",
      [](bool is_double, const Edges& edges, int mmax, int hidden) {
        return so2::convolution_stage(is_double, {edges.parameters(), mmax, hidden});
      },
      py::kw_only(), py::arg("is_double"), py::arg("edges"), py::arg("mmax"), py::arg("hidden"),
      "From 'normed' and 'kept' to 'messages'.");
  module.def(
      "so2_degrees",
      [](bool is_double, const Edges& edges) { return so2::degree_stage(is_double, edges.parameters()); },
      py::kw_only(), py::arg("is_double"), py::arg("edges"), "From 'kept' to 'degrees'.");
}

}  // namespace distmlip::bindings
