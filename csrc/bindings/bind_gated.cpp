// Blocks of gated messages, as distmlip/models/chgnet/native.py describes them.
#include <pybind11/stl.h>

#include <optional>

#include "bindings/bindings.h"
#include "bindings/native_parts.h"
#include "native/gated/stages.h"

namespace py = pybind11;

namespace distmlip::bindings {
namespace {

namespace gated = native::gated;

// Parameters that keep their arrays.
struct Perceptron {
  std::vector<Doubles> hidden;
  std::vector<double> bias, scales, shifts;
  double epsilon;
  gated::PerceptronParameters parameters() const {
    return {matrices_of(hidden), bias, scales, shifts, epsilon};
  }
};

struct Atoms {
  Doubles receivers, senders, bonds;
  std::vector<double> bias;
  Doubles out;
  std::vector<double> out_bias;
  Perceptron perceptron;
  gated::AtomParameters parameters() const {
    return {matrix_of(receivers), matrix_of(senders), matrix_of(bonds),       bias,
            matrix_of(out),       out_bias,           perceptron.parameters()};
  }
};

struct Angles {
  Doubles first, second, angles, centres;
  std::vector<double> bias;
  Perceptron perceptron;
  gated::AngleParameters parameters() const {
    return {matrix_of(first),       matrix_of(second), matrix_of(angles), matrix_of(centres), bias,
            perceptron.parameters()};
  }
};

struct Basis {
  native::RadialBasis bonds, short_bonds;
  std::vector<double> angle_frequencies;
  Doubles bond_embedding, bond_weights, short_weights, angle_embedding;
  gated::BasisParameters parameters() const {
    return {bonds,
            short_bonds,
            angle_frequencies,
            matrix_of(bond_embedding),
            matrix_of(bond_weights),
            matrix_of(short_weights),
            matrix_of(angle_embedding)};
  }
};

using Shared = std::shared_ptr<executor::NativeStage>;

Shared block(bool is_double, int index, const Basis& basis, const Atoms& atoms,
             const std::optional<Angles>& bonds, const std::vector<Angles>& angles,
             const std::optional<Doubles>& species, const std::optional<Doubles>& update,
             std::vector<double> update_bias, std::vector<double> embedding_shift, bool keeps_atoms,
             bool keeps_bonds) {
  gated::BlockParameters parameters;
  parameters.index = index;
  parameters.channels = static_cast<int>(atoms.receivers.shape(0));
  parameters.basis = basis.parameters();
  if (species) parameters.species = matrix_of(*species);
  if (update) parameters.previous = {matrix_of(*update), std::move(update_bias)};
  parameters.embedding_shift = std::move(embedding_shift);
  parameters.atoms = atoms.parameters();
  if (bonds) parameters.bonds = bonds->parameters();
  for (const Angles& of : angles) parameters.angles.push_back(of.parameters());
  parameters.keeps_atoms = keeps_atoms;
  parameters.keeps_bonds = keeps_bonds;
  if (is_double) return std::make_shared<gated::BlockStage<double>>(parameters);
  return std::make_shared<gated::BlockStage<float>>(parameters);
}

Shared bases(bool is_double, const Basis& basis) {
  if (is_double) return std::make_shared<gated::BasisStage<double>>(basis.parameters());
  return std::make_shared<gated::BasisStage<float>>(basis.parameters());
}

}  // namespace

void bind_gated(py::module_& module) {
  using Numbers = std::vector<double>;
  py::class_<Perceptron>(module, "GatedPerceptron", "silu(core) * sigmoid(gate) of sums of projections.")
      .def(py::init<std::vector<Doubles>, Numbers, Numbers, Numbers, double>(), py::kw_only(),
           py::arg("hidden"), py::arg("bias"), py::arg("scales"), py::arg("shifts"), py::arg("epsilon"));
  py::class_<Atoms>(module, "AtomMessages", "Of edges to atoms.")
      .def(py::init<Doubles, Doubles, Doubles, Numbers, Doubles, Numbers, Perceptron>(), py::kw_only(),
           py::arg("receivers"), py::arg("senders"), py::arg("bonds"), py::arg("bias"), py::arg("out"),
           py::arg("out_bias"), py::arg("perceptron"));
  py::class_<Angles>(module, "AngleLayer", "Messages of angles to bonds, or updates of angles.")
      .def(py::init<Doubles, Doubles, Doubles, Doubles, Numbers, Perceptron>(), py::kw_only(),
           py::arg("first"), py::arg("second"), py::arg("angles"), py::arg("centres"), py::arg("bias"),
           py::arg("perceptron"));
  py::class_<Basis>(module, "BondBasis", "Functions of lengths and angles, and what they are embedded with.")
      .def(py::init<native::RadialBasis, native::RadialBasis, Numbers, Doubles, Doubles, Doubles, Doubles>(),
           py::kw_only(), py::arg("bonds"), py::arg("short_bonds"), py::arg("angle_frequencies"),
           py::arg("bond_embedding"), py::arg("bond_weights"), py::arg("short_weights"),
           py::arg("angle_embedding"));
  module.def("gated_block", &block, py::kw_only(), py::arg("is_double"), py::arg("index"), py::arg("basis"),
             py::arg("atoms"), py::arg("bonds"), py::arg("angles"), py::arg("species"), py::arg("update"),
             py::arg("update_bias"), py::arg("embedding_shift"), py::arg("keeps_atoms"),
             py::arg("keeps_bonds"), "A stage; csrc/native/gated/parameters.h says what it is given.");
  module.def("gated_bases", &bases, py::kw_only(), py::arg("is_double"), py::arg("basis"),
             "A stage that evaluates the basis functions for all blocks.");
}

}  // namespace distmlip::bindings
