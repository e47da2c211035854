// What native stages are put together from.
#include <pybind11/stl.h>

#include <optional>
#include <string>
#include <utility>

#include "bindings/bindings.h"
#include "bindings/native_parts.h"
#include "native/stage_builder.h"

namespace py = pybind11;

namespace distmlip::bindings {
namespace {

native::Activation activation_named(const std::string& name) {
  if (name == "silu") return native::Activation::silu;
  if (name == "tanh") return native::Activation::tanh;
  if (name == "sigmoid") return native::Activation::sigmoid;
  if (name == "none") return native::Activation::none;
  invalid("activation is '", name, "'; it must be 'silu', 'tanh', 'sigmoid' or 'none'");
}

native::Envelope envelope_of(const std::string& kind, double cutoff, int power, double switch_on) {
  using Kind = native::Envelope::Kind;
  const std::pair<const char*, Kind> known[] = {{"none", Kind::none},
                                                {"polynomial", Kind::polynomial},
                                                {"xplor", Kind::xplor},
                                                {"cosine", Kind::cosine}};
  for (const auto& [name, of] : known)
    if (kind == name) return {of, cutoff, power, switch_on};
  invalid("envelope is '", kind, "'; it must be 'none', 'polynomial', 'xplor' or 'cosine'");
}

}  // namespace

void bind_native_parts(py::module_& module) {
  py::class_<native::Cells>(module, "Cells", "Intervals of length (Ang) of tables, by their ends.")
      .def(py::init<std::vector<double>>(), py::arg("ends"));
  py::class_<native::Agnesi>(module, "Agnesi", "radii: of each species pair, Ang.")
      .def(py::init<double, double, double, std::vector<double>>(), py::arg("a"), py::arg("q"), py::arg("p"),
           py::arg("radii"));
  py::class_<native::RadialBasis>(
      module, "RadialBasis",
      "factor * sin(frequency * x) / x under an envelope ('polynomial', 'xplor', 'cosine' or 'none'), which "
      "may be a function of its own behind them.")
      .def(py::init([](std::vector<double> frequencies, double factor, double cutoff, int power,
                       double switch_on, std::optional<native::Agnesi> transform, const std::string& envelope,
                       bool with_envelope) {
             return native::RadialBasis{std::move(frequencies), factor,
                                        envelope_of(envelope, cutoff, power, switch_on), std::move(transform),
                                        with_envelope};
           }),
           py::arg("frequencies"), py::arg("factor"), py::arg("cutoff"), py::arg("power") = 0,
           py::arg("switch_on") = 0.0, py::arg("transform") = py::none(), py::arg("envelope") = "polynomial",
           py::arg("with_envelope") = false)
      .def(
          "evaluate",
          [](const native::RadialBasis& basis, double length, int species_pair) {
            std::vector<double> values(static_cast<size_t>(basis.size())), derivatives(values);
            basis.evaluate(length, species_pair, values.data(), derivatives.data());
            return std::pair(values, derivatives);
          },
          py::arg("length"), py::arg("species_pair") = 0);
  py::class_<Path>(module, "ConvolutionPath",
                   "couplings: (16, (2l_from+1)(2l_to+1)), what harmonics are multiplied by.")
      .def(py::init<int, int, int, int, Doubles>(), py::arg("source"), py::arg("target"),
           py::arg("first_channel"), py::arg("group"), py::arg("couplings"));
  py::class_<Map>(module, "LinearMap", "weights: one matrix (channels in, channels out), or one per species.")
      .def(py::init<int, int, std::vector<Doubles>>(), py::arg("source"), py::arg("target"),
           py::arg("weights"));
  py::class_<native::Gated>(module, "Gated", "gate: the segment of scalars, or -1 for an activation itself.")
      .def(py::init([](int from, int to, int gate, const std::string& activation, double factor) {
             return native::Gated{from, to, gate, activation_named(activation), factor};
           }),
           py::arg("source"), py::arg("target"), py::arg("gate"), py::arg("activation"), py::arg("factor"));
  py::class_<native::Repulsion>(module, "Repulsion",
                                "charges (eV*Ang), lengths and cutoffs (Ang): of each species pair.")
      .def(py::init<std::vector<double>, std::vector<double>, std::vector<double>, std::vector<double>,
                    std::vector<double>, int>(),
           py::arg("charges"), py::arg("lengths"), py::arg("cutoffs"), py::arg("weights"),
           py::arg("exponents"), py::arg("power"));
}

}  // namespace distmlip::bindings
