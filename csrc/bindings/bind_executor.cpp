// The executor: steps and sweeps.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>
#include <torch/csrc/utils/pybind.h>

#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include "bindings/bindings.h"
#include "bindings/python_stages.h"
#include "executor/step.h"
#include "executor/sweep.h"

namespace py = pybind11;

namespace distmlip::bindings {
namespace {

using executor::StageSpec;

StageSpec spec_of(const py::handle& stage) {
  StageSpec spec;
  spec.name = stage.attr("name").cast<std::string>();
  for (const auto& exchange : stage.attr("before")) {
    spec.before.push_back(exchange_of(exchange));
  }
  spec.reads = stage.attr("reads").cast<std::vector<std::string>>();
  spec.writes = stage.attr("writes").cast<std::vector<std::string>>();
  spec.results = stage.attr("results").cast<std::vector<std::string>>();
  spec.system_results = stage.attr("system_results").cast<std::vector<std::string>>();
  return spec;
}

py::dict run_sweep(executor::Step& step, const py::list& stages, const py::list& graphs,
                   std::vector<size_t> slots, at::ScalarType dtype, bool keep, bool spill, bool backward,
                   bool with_virials, bool measured) {
  executor::SweepRequest request;
  for (const auto& stage : stages[0]) {
    request.stages.push_back(spec_of(stage));
  }
  request.slots = std::move(slots);
  request.crossing = step.crossing(dtype);
  request.keep = keep;
  request.spill = spill;
  request.backward = backward;
  request.measured = measured;

  PythonStages runner(stages, graphs);
  executor::SweepResult result;
  executor::Forces forces;
  std::chrono::duration<double> forces_seconds{};
  try {
    const py::gil_scoped_release no_gil;
    result = executor::sweep(request, runner);
    const auto start = std::chrono::steady_clock::now();
    forces = step.forces(result.edge_gradients, with_virials);
    forces_seconds = std::chrono::steady_clock::now() - start;
  } catch (const py::error_already_set& error) {
    runner.add_others(error);
    throw;
  }
  py::list counts;
  for (const auto& count : result.counts) {
    counts.append(py::make_tuple(count.partitions, count.received));
  }
  py::list costs;
  for (const auto& stage : result.costs) {
    costs.append(py::make_tuple(stage.forward, stage.backward, stage.exchange, stage.exchange_backward));
  }
  py::dict out;
  out["results"] = result.results;
  out["system_results"] = result.system_results;
  out["forces"] = forces.forces;
  out["virial"] = forces.virial;
  out["virials"] = forces.virials;
  out["counts"] = counts;
  out["costs"] = costs;
  out["forces_seconds"] = forces_seconds.count();
  return out;
}

}  // namespace

void bind_executor(py::module_& module) {
  using Doubles = py::array_t<double, py::array::c_style | py::array::forcecast>;
  py::class_<executor::LocalTensors>(module, "LocalTensors")
      .def_readonly("senders", &executor::LocalTensors::senders)
      .def_readonly("receivers", &executor::LocalTensors::receivers)
      .def_readonly("vectors", &executor::LocalTensors::vectors)
      .def_readonly("edge_bond", &executor::LocalTensors::edge_bond)
      .def_readonly("bond_edge", &executor::LocalTensors::bond_edge)
      .def_readonly("angles", &executor::LocalTensors::angles)
      .def_readonly("cut", &executor::LocalTensors::cut);
  py::class_<executor::Cost>(module, "Cost")
      .def_readonly("seconds", &executor::Cost::seconds)
      .def_readonly("bytes_left", &executor::Cost::bytes_left)
      .def_readonly("bytes_peak", &executor::Cost::bytes_peak)
      .def(py::pickle(
          [](const executor::Cost& cost) {
            return py::make_tuple(cost.seconds, cost.bytes_left, cost.bytes_peak);
          },
          [](const py::tuple& state) {
            return executor::Cost{state[0].cast<double>(), state[1].cast<int64_t>(),
                                  state[2].cast<int64_t>()};
          }));
  py::class_<executor::Step>(module, "Step")
      .def(py::init([](std::shared_ptr<partition::Decomposition> decomposition,
                       const std::vector<at::Device>& devices, at::ScalarType dtype, bool as_devices,
                       std::shared_ptr<exchange::RankGroup> ranks, std::vector<int32_t> first_partitions) {
             std::shared_ptr<exchange::Others> others;
             if (ranks) others.reset(new exchange::Others{std::move(ranks), std::move(first_partitions)});
             const py::gil_scoped_release no_gil;
             return std::make_unique<executor::Step>(std::move(decomposition), devices, dtype, as_devices,
                                                     std::move(others));
           }),
           py::arg("decomposition"), py::arg("devices"), py::arg("dtype"), py::arg("as_devices") = false,
           py::arg("ranks") = nullptr, py::arg("first_partitions") = std::vector<int32_t>{},
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
            for (const auto& gradient : edge_gradients) {
              gradients.push_back(gradient.value_or(at::Tensor()));
            }
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
      .def_property_readonly("n_cut", &executor::Step::n_cut);
  module.def("sweep", &run_sweep, py::arg("step"), py::arg("stages"), py::arg("graphs"), py::arg("slots"),
             py::arg("dtype"), py::arg("keep"), py::arg("spill"), py::arg("backward"),
             py::arg("with_virials"), py::arg("measured") = false);
}

}  // namespace distmlip::bindings
