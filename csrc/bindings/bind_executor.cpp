// The executor: graphs, steps and evaluations.
#include <pybind11/native_enum.h>
#include <pybind11/stl.h>
#include <torch/csrc/utils/pybind.h>

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include "bindings/arrays.h"
#include "bindings/bindings.h"
#include "bindings/python_stages.h"
#include "executor/evaluation.h"
#include "executor/graphs.h"

namespace py = pybind11;

namespace distmlip::bindings {
namespace {

using executor::Cost;
using executor::StageSpec;

StageSpec spec_of(const py::handle& stage) {
  const auto names = [&](const char* field) { return stage.attr(field).cast<std::vector<std::string>>(); };
  StageSpec spec{stage.attr("name").cast<std::string>(),
                 {},
                 names("reads"),
                 names("writes"),
                 names("results"),
                 names("system_results"),
                 names("computes"),
                 stage.attr("is_cheap").cast<bool>()};
  for (const auto& exchange : stage.attr("before")) spec.before.push_back(exchange_of(exchange));
  return spec;
}

/// What the core knows of a model's stages: read from Python once, not in every step.
struct StageSpecs {
  std::vector<StageSpec> specs;
};

executor::Evaluation evaluate(const executor::Graphs& graphs, const StageSpecs& specs, const py::list& stages,
                              const py::list& local_graphs, std::vector<size_t> slots,
                              executor::Recompute recompute, bool backward, bool with_virials,
                              bool measured) {
  PythonStages runner(stages, local_graphs);
  try {
    const py::gil_scoped_release no_gil;
    return executor::evaluate(graphs, {specs.specs, std::move(slots), {}, recompute, backward, measured},
                              runner, with_virials);
  } catch (const py::error_already_set& error) {
    runner.add_others(error);
    throw;
  }
}

/// `agree`: None, or what calls what it is given in every process or in none, and returns the sum of what
/// that returned in each. Must outlive the result.
executor::Agree agreed_by(const py::object& agree) {
  if (agree.is_none()) return {};
  return [&agree](const std::function<int64_t()>& work) {
    const py::gil_scoped_acquire gil;
    return agree(py::cpp_function([&work] {
             const py::gil_scoped_release no_gil;
             return work();
           }))
        .cast<int64_t>();
  };
}

executor::Structure structure_of(const Doubles& positions, const Doubles& cell,
                                 const std::array<bool, 3>& periodic, const Integers& numbers) {
  const double* data = checked_positions(positions);
  if (numbers.ndim() != 1 || numbers.shape(0) != positions.shape(0))
    invalid("numbers must have the shape (n_atoms,)");
  return {positions.shape(0), data, numbers.data(), cell_from(cell, periodic)};
}

std::vector<executor::GraphPart> graphs_at(executor::Graphs& graphs, const Doubles& positions,
                                           const Doubles& cell, const std::array<bool, 3>& periodic,
                                           const Integers& numbers, const py::object& agree) {
  const executor::Structure structure = structure_of(positions, cell, periodic, numbers);
  const executor::Agree agreed = agreed_by(agree);
  const py::gil_scoped_release no_gil;
  return graphs.at(structure, agreed);
}

std::vector<executor::GraphPart> graphs_at_own(executor::Graphs& graphs, const Doubles& positions,
                                               const Doubles& cell, const std::array<bool, 3>& periodic,
                                               const Integers& numbers, const std::optional<Integers>& tags,
                                               const std::optional<Integers>& near, const py::object& agree) {
  const executor::Structure own = structure_of(positions, cell, periodic, numbers);
  if (tags.has_value() != near.has_value()) invalid("tags and near must be given together");
  std::optional<executor::Tags> changed;
  if (tags) {
    if (tags->ndim() != 1 || tags->shape(0) != own.n_atoms) invalid("tags must have the shape (n_atoms,)");
    changed = {{tags->data(), static_cast<size_t>(tags->size())},
               {near->data(), static_cast<size_t>(near->size())}};
  }
  const executor::Agree agreed = agreed_by(agree);
  const py::gil_scoped_release no_gil;
  return graphs.at(own, changed ? &*changed : nullptr, agreed);
}

std::shared_ptr<exchange::Others> others_of(std::shared_ptr<exchange::RankGroup> ranks,
                                            std::vector<int32_t> first_partitions) {
  if (ranks == nullptr) return nullptr;
  return std::shared_ptr<exchange::Others>(
      new exchange::Others{std::move(ranks), std::move(first_partitions)});
}

executor::Graphs make_graphs(double cutoff, double bond_cutoff, double skin, int32_t n_partitions,
                             const std::string& method, const std::optional<Doubles>& weights,
                             std::vector<at::Device> devices, at::ScalarType dtype,
                             std::shared_ptr<exchange::RankGroup> ranks,
                             std::vector<int32_t> first_partitions) {
  executor::GraphsRequest request;
  request.cut.cutoff = cutoff;
  request.cut.bond_cutoff = bond_cutoff;
  request.cut.skin = skin;
  request.cut.n_partitions = n_partitions;
  request.cut.method = cut::method_named(method);
  if (weights) request.weights.assign(weights->data(), weights->data() + weights->size());
  request.devices = std::move(devices);
  request.dtype = dtype;
  if (ranks != nullptr) {
    const auto rank = static_cast<size_t>(ranks->rank());
    request.cut.here = {first_partitions.at(rank),
                        rank + 1 < first_partitions.size() ? first_partitions[rank + 1] : n_partitions};
    request.others = others_of(std::move(ranks), std::move(first_partitions));
  }
  return executor::Graphs(std::move(request));
}

void bind_graphs(py::module_& module) {
  using executor::GraphPart;
  using executor::Graphs;
  py::class_<GraphPart, executor::LocalTensors>(module, "GraphPart")
      .def_readonly("n_owned", &GraphPart::n_owned)
      .def_readonly("atoms", &GraphPart::atoms)
      .def_readonly("numbers", &GraphPart::numbers);
  py::class_<Graphs>(module, "Graphs", "The graph of a system over partitions, built anew when it has to be.")
      .def(py::init(&make_graphs), py::kw_only(), py::arg("cutoff"), py::arg("bond_cutoff"), py::arg("skin"),
           py::arg("n_partitions"), py::arg("method"), py::arg("weights"), py::arg("devices"),
           py::arg("dtype"), py::arg("ranks") = nullptr, py::arg("first_partitions") = std::vector<int32_t>{},
           "ranks: the processes among which partitions are shared, rank r from first_partitions[r] on.")
      .def("at", &graphs_at, py::arg("positions"), py::arg("cell"), py::arg("periodic"), py::arg("numbers"),
           py::arg("agree") = py::none(),
           "The parts at these positions. agree(work): does the work on every rank or on none, and returns "
           "the sum of what it gave.")
      .def("at_own", &graphs_at_own, py::arg("positions"), py::arg("cell"), py::arg("periodic"),
           py::arg("numbers"), py::arg("tags"), py::arg("near"), py::arg("agree"),
           "The same where each rank gives the atoms that it owns, and knows no others. tags (n_atoms): the "
           "same "
           "for an atom on every rank; near: tags of atoms that may be near these, repeated or its own ones, "
           "too; None while all of them are those of the call before.")
      .def_property_readonly("n_partitions", &Graphs::n_partitions)
      .def_property_readonly("is_built", &Graphs::is_built)
      .def_property_readonly("n_built", &Graphs::n_built)
      .def_property_readonly("step", &Graphs::step)
      .def_property_readonly("method", [](const Graphs& graphs) { return cut::name_of(graphs.method()); })
      .def_property_readonly(
          "origin",
          [](const Graphs& graphs) {
            const partition::Decomposition& of = graphs.decomposition();
            py::array_t<double> positions({of.n_atoms, int64_t{3}}), cell({3, 3});
            std::copy(of.reference.begin(), of.reference.end(), positions.mutable_data());
            std::copy(of.cell.vectors.begin(), of.cell.vectors.end(), cell.mutable_data());
            return std::pair(positions, cell);
          },
          "Positions and cell that the graph was built at, and is a function of.")
      .def_property_readonly("owned", [](const Graphs& graphs) { return indices(graphs.owned()); })
      .def_property_readonly("n_angles_total", &Graphs::n_angles_total);
}

void bind_evaluation(py::module_& module) {
  using executor::Evaluation;
  py::native_enum<executor::Recompute>(
      module, "Recompute", "enum.IntEnum",
      "What is computed again in the backward sweep, to save memory: nothing; the "
      "inside of stages; or that from inputs which wait in host memory.")
      .value("never", executor::Recompute::never)
      .value("stages", executor::Recompute::stages)
      .value("host", executor::Recompute::host)
      .finalize();
  py::class_<StageSpecs>(module, "StageSpecs", "What the core knows of a model's stages.")
      .def(py::init([](const py::iterable& stages) {
             StageSpecs specs;
             for (const auto& stage : stages) specs.specs.push_back(spec_of(stage));
             return specs;
           }),
           py::arg("stages"));
  py::class_<executor::StageRows>(module, "StageRows")
      .def_readonly("computed", &executor::StageRows::computed)
      .def_readonly("received", &executor::StageRows::received);
  py::class_<executor::MeasuredStage>(module, "MeasuredStage")
      .def_readonly("forward", &executor::MeasuredStage::forward)
      .def_readonly("backward", &executor::MeasuredStage::backward)
      .def_readonly("exchange", &executor::MeasuredStage::exchange)
      .def_readonly("exchange_backward", &executor::MeasuredStage::exchange_backward);
  py::class_<Evaluation>(module, "Evaluation")
      .def_readonly("results", &Evaluation::results)
      .def_readonly("system_results", &Evaluation::system_results)
      .def_property_readonly("forces", [](const Evaluation& found) { return found.forces.forces; })
      .def_property_readonly("virial", [](const Evaluation& found) { return found.forces.virial; })
      .def_property_readonly("virials", [](const Evaluation& found) { return found.forces.virials; })
      .def_readonly("rows", &Evaluation::rows)
      .def_readonly("costs", &Evaluation::costs)
      .def_readonly("forces_seconds", &Evaluation::forces_seconds);
  module.def(
      "reuse_memory_of_eager_stages", &reuse_memory_of_eager_stages, py::arg("wanted"),
      "Whether large tensors that eager stages make on the host are on pages that are kept for the next "
      "ones; at first they are.");
  module.def("evaluate", &evaluate, py::arg("graphs"), py::arg("specs"), py::arg("stages"),
             py::arg("local_graphs"), py::arg("slots"), py::kw_only(), py::arg("recompute"),
             py::arg("backward"), py::arg("with_virials"), py::arg("measured"),
             "One sweep of a model. stages and local_graphs: of each partition.");
}

}  // namespace

void bind_executor(py::module_& module) {
  py::class_<executor::LocalTensors>(module, "LocalTensors")
      .def_readonly("senders", &executor::LocalTensors::senders)
      .def_readonly("receivers", &executor::LocalTensors::receivers)
      .def_readonly("vectors", &executor::LocalTensors::vectors)
      .def_readonly("edge_bond", &executor::LocalTensors::edge_bond)
      .def_readonly("bond_edge", &executor::LocalTensors::bond_edge)
      .def_readonly("short_bonds", &executor::LocalTensors::short_bonds)
      .def_readonly("angles", &executor::LocalTensors::angles)
      .def_readonly("cut", &executor::LocalTensors::cut);
  py::class_<Cost>(module, "Cost")
      .def_readonly("seconds", &Cost::seconds)
      .def_readonly("bytes_left", &Cost::bytes_left)
      .def_readonly("bytes_peak", &Cost::bytes_peak)
      .def(py::pickle(
          [](const Cost& cost) { return py::make_tuple(cost.seconds, cost.bytes_left, cost.bytes_peak); },
          [](const py::tuple& state) {
            return Cost{state[0].cast<double>(), state[1].cast<int64_t>(), state[2].cast<int64_t>()};
          }));
  py::class_<executor::Step, std::shared_ptr<executor::Step>>(module, "Step")
      .def(py::init([](std::shared_ptr<partition::Decomposition> decomposition,
                       const std::vector<at::Device>& devices, at::ScalarType dtype,
                       std::shared_ptr<exchange::RankGroup> ranks, std::vector<int32_t> first_partitions) {
             auto others = others_of(std::move(ranks), std::move(first_partitions));
             const py::gil_scoped_release no_gil;
             return std::make_shared<executor::Step>(std::move(decomposition), devices, dtype,
                                                     std::move(others));
           }),
           py::arg("decomposition"), py::arg("devices"), py::arg("dtype"), py::arg("ranks") = nullptr,
           py::arg("first_partitions") = std::vector<int32_t>{},
           "ranks: the processes among which partitions are shared, rank r from first_partitions[r] on.")
      .def(
          "update",
          [](executor::Step& step, const Doubles& positions, const Doubles& cell) {
            Cell now;
            std::copy(cell.data(), cell.data() + 9, now.vectors.begin());
            const py::gil_scoped_release no_gil;
            step.update(positions.data(), now);
          },
          py::arg("positions"), py::arg("cell"))
      .def(
          "forces",
          [](executor::Step& step, const std::vector<std::optional<at::Tensor>>& edge_gradients,
             bool with_virials) {
            const py::gil_scoped_release no_gil;
            exchange::PerPartition gradients;
            for (const auto& gradient : edge_gradients) gradients.push_back(gradient.value_or(at::Tensor()));
            const auto forces = step.forces(gradients, with_virials);
            return std::make_tuple(forces.forces, forces.virial, forces.virials);
          },
          py::arg("edge_gradients"), py::arg("with_virials"))
      .def_property_readonly("parts", &executor::Step::parts)
      .def_property_readonly("local_atoms", &executor::Step::local_atoms)
      .def_property_readonly("n_owned", &executor::Step::n_owned)
      .def_property_readonly("n_edges", &executor::Step::n_edges)
      .def_property_readonly("n_bonds", &executor::Step::n_bonds)
      .def_property_readonly("n_angles", &executor::Step::n_angles)
      .def_property_readonly("n_cut", &executor::Step::n_cut)
      .def_property_readonly("n_read", &executor::Step::n_read);
  bind_graphs(module);
  bind_evaluation(module);
}

}  // namespace distmlip::bindings
