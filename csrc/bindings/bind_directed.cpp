// Blocks of gated messages of directed edges, as distmlip/models/matgl/native_*.py describe them.
#include <pybind11/stl.h>

#include <memory>
#include <optional>

#include "bindings/bindings.h"
#include "bindings/native_parts.h"
#include "native/directed/stages.h"

namespace py = pybind11;

namespace distmlip::bindings {
namespace {

namespace directed = native::directed;
using Numbers = std::vector<double>;
using Stage = std::shared_ptr<executor::NativeStage>;

// Parameters that keep their arrays.
struct Tables {
  Numbers ends;
  std::vector<int> columns;
  std::vector<Doubles> cells;
  directed::TableParameters parameters() const { return {ends, columns, matrices_of(cells)}; }
};

struct Layer {
  std::vector<Doubles> sources;
  Doubles own;
  Numbers bias;
  std::vector<Doubles> hidden;
  Numbers hidden_bias, scales, shifts;
  double epsilon;
  directed::LayerParameters parameters() const {
    return {matrices_of(sources),
            matrix_of(own),
            bias,
            {matrices_of(hidden), hidden_bias, scales, shifts, epsilon}};
  }
};

struct Weighted {
  Layer layer;
  int weights;
  directed::WeightedLayer parameters() const { return {layer.parameters(), weights}; }
};

struct ThreeBody {
  std::vector<directed::AngularFunction> functions;
  std::vector<int> of_column, degrees;
  double margin;
  int functions_of_length;
  bool reads_centres;
  Layer layer;
  directed::ThreeBodyParameters parameters() const {
    return {functions, of_column, degrees, margin, functions_of_length, reads_centres, layer.parameters()};
  }
};

struct NodeUpdate {
  Weighted messages;
  Doubles out;
  directed::NodeParameters parameters() const { return {messages.parameters(), matrix_of(out)}; }
};

struct EndAtoms {
  Doubles weights;
  Numbers bias;
};

template <template <class> class OfType, class Parameters>
Stage stage_of(bool is_double, const Parameters& parameters) {
  if (is_double) return std::make_shared<OfType<double>>(parameters);
  return std::make_shared<OfType<float>>(parameters);
}

Stage block(bool is_double, int atoms, int edges, const Tables& tables, const Weighted& messages,
            int embedding, const std::optional<Doubles>& species, const std::optional<Doubles>& end_species,
            bool has_nodes, const std::optional<Layer>& angles, const std::optional<NodeUpdate>& nodes,
            const std::optional<ThreeBody>& three_body, const std::optional<Weighted>& edge_update,
            const std::optional<Doubles>& out, const std::optional<directed::NormParameters>& atom_norm,
            const std::optional<directed::NormParameters>& edge_norm,
            const std::optional<EndAtoms>& end_atoms, bool gives_edges, bool gives_crossing) {
  directed::BlockParameters parameters;
  parameters.atoms = atoms;
  parameters.edges = edges;
  parameters.tables = tables.parameters();
  parameters.messages = messages.parameters();
  parameters.embedding = embedding;
  if (species) parameters.species = matrix_of(*species);
  if (end_species) parameters.end_species = matrix_of(*end_species);
  parameters.has_nodes = has_nodes;
  if (angles) parameters.angles = angles->parameters();
  if (nodes) parameters.nodes = nodes->parameters();
  if (three_body) parameters.three_body = three_body->parameters();
  if (edge_update) parameters.edge_update = edge_update->parameters();
  if (out) parameters.out = matrix_of(*out);
  parameters.atom_norm = atom_norm;
  parameters.edge_norm = edge_norm;
  if (end_atoms) parameters.end_atoms = {matrix_of(end_atoms->weights), end_atoms->bias};
  parameters.gives_edges = gives_edges;
  parameters.gives_crossing = gives_crossing;
  return stage_of<directed::BlockStage>(is_double, parameters);
}

void bind_parts(py::module_& module) {
  py::class_<Tables>(module, "LengthTables", "Functions of the length, in groups of columns.")
      .def(py::init<Numbers, std::vector<int>, std::vector<Doubles>>(), py::kw_only(), py::arg("ends"),
           py::arg("columns"), py::arg("cells"));
  py::class_<Layer>(module, "GatedLayer", "A gated perceptron of rows that gather others.")
      .def(py::init<std::vector<Doubles>, Doubles, Numbers, std::vector<Doubles>, Numbers, Numbers, Numbers,
                    double>(),
           py::kw_only(), py::arg("sources"), py::arg("own"), py::arg("bias"), py::arg("hidden"),
           py::arg("hidden_bias"), py::arg("scales"), py::arg("shifts"), py::arg("epsilon"));
  py::class_<Weighted>(module, "WeightedLayer", "Times a group of functions of the length.")
      .def(py::init<Layer, int>(), py::arg("layer"), py::arg("weights"));
  py::class_<directed::AngularFunction>(module, "AngularFunction",
                                        "sin^order times a polynomial of the cosine of an angle.")
      .def(py::init<Numbers, int>(), py::arg("polynomial"), py::arg("order"));
  py::class_<ThreeBody>(module, "ThreeBodySums", "What edges get of the angles with others.")
      .def(py::init<std::vector<directed::AngularFunction>, std::vector<int>, std::vector<int>, double, int,
                    bool, Layer>(),
           py::kw_only(), py::arg("functions"), py::arg("of_column"), py::arg("degrees"), py::arg("margin"),
           py::arg("functions_of_length"), py::arg("reads_centres"), py::arg("layer"));
  py::class_<NodeUpdate>(module, "NodeUpdate", "Of nodes of a line graph by angles.")
      .def(py::init<Weighted, Doubles>(), py::arg("messages"), py::arg("out"));
  py::class_<EndAtoms>(module, "EndAtoms", "What the next three-body sums read of atoms: sigmoids.")
      .def(py::init<Doubles, Numbers>(), py::arg("weights"), py::arg("bias"));
  py::class_<directed::NormParameters>(module, "LayerNorm", "Of rows.")
      .def(py::init<Numbers, Numbers, double>(), py::arg("scales"), py::arg("shifts"), py::arg("epsilon"));
}

}  // namespace

void bind_directed(py::module_& module) {
  bind_parts(module);
  module.def(
      "directed_block", &block, py::kw_only(), py::arg("is_double"), py::arg("atoms"), py::arg("edges"),
      py::arg("tables"), py::arg("messages"), py::arg("embedding") = -1, py::arg("species") = py::none(),
      py::arg("end_species") = py::none(), py::arg("has_nodes") = false, py::arg("angles") = py::none(),
      py::arg("nodes") = py::none(), py::arg("three_body") = py::none(), py::arg("edge_update") = py::none(),
      py::arg("out") = py::none(), py::arg("atom_norm") = py::none(), py::arg("edge_norm") = py::none(),
      py::arg("end_atoms") = py::none(), py::arg("gives_edges") = false, py::arg("gives_crossing") = false,
      "A stage; csrc/native/directed/parameters.h says what it is given.");
  module.def(
      "directed_nodes",
      [](bool is_double, const Tables& tables, const NodeUpdate& nodes) {
        return stage_of<directed::NodeStage>(
            is_double, directed::NodeStageParameters{tables.parameters(), nodes.parameters()});
      },
      py::kw_only(), py::arg("is_double"), py::arg("tables"), py::arg("nodes"),
      "A stage that updates nodes of a line graph, which are edges before.");
  module.def(
      "directed_angles",
      [](bool is_double, Numbers frequencies, const Doubles& embedding, double margin) {
        return stage_of<directed::AngleStage>(
            is_double, directed::AngleBasisParameters{std::move(frequencies), matrix_of(embedding), margin});
      },
      py::kw_only(), py::arg("is_double"), py::arg("frequencies"), py::arg("embedding"), py::arg("margin"),
      "A stage that embeds angles.");
}

}  // namespace distmlip::bindings
