#include "bindings/python_stages.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <optional>
#include <string>

#include "exchange/host_tensors.h"

namespace py = pybind11;

namespace distmlip::bindings {
namespace {

using executor::Gradients;
using executor::StageOutput;
using executor::Tensors;

py::dict to_dict(const Tensors& tensors) {
  py::dict dict;
  for (const auto& [name, tensor] : tensors) dict[py::str(name)] = tensor;
  return dict;
}

std::atomic<bool> reuses_memory = true;

/// A Python object that may be dropped by a thread that does not hold the GIL.
std::shared_ptr<py::object> shared(py::object object) {
  return {new py::object(std::move(object)), [](py::object* held) {
            const py::gil_scoped_acquire gil;
            delete held;
          }};
}

}  // namespace

std::optional<executor::NativeBonds> native_bonds_of(const py::handle& bonds) {
  if (bonds.is_none()) return {};
  const auto tensor = [&](const char* name) { return bonds.attr(name).cast<at::Tensor>(); };
  return executor::NativeBonds{tensor("edge_bond"),   tensor("bond_edge"),
                               tensor("short_bonds"), tensor("angles"),
                               tensor("cut"),         bonds.attr("n_angles_total").cast<int64_t>()};
}

void reuse_memory_of_eager_stages(bool wanted) { reuses_memory = wanted; }

PythonStages::PythonStages(py::list stages, py::list graphs)
    : stages_(std::move(stages)), graphs_(std::move(graphs)) {
  bool any = false;
  for (const py::handle of_partition : stages_) {
    auto& natives = natives_.emplace_back();
    for (const py::handle stage : of_partition) {
      natives.push_back(stage.attr("native").cast<std::shared_ptr<executor::NativeStage>>());
      any = any || natives.back() != nullptr;
    }
  }
  if (!any) return;
  for (const py::handle graph : graphs_) {
    const auto tensor = [&](const char* name) { return graph.attr(name).cast<at::Tensor>(); };
    native_graphs_.push_back({graph.attr("n_owned").cast<int64_t>(), tensor("numbers"), tensor("senders"),
                              tensor("receivers"), tensor("vectors"), native_bonds_of(graph.attr("bonds"))});
  }
}

bool PythonStages::is_native(size_t stage) const {
  return std::all_of(natives_.begin(), natives_.end(),
                     [&](const auto& of_partition) { return of_partition[stage] != nullptr; });
}

bool PythonStages::keeps_nothing(size_t stage) const {
  return is_native(stage) && std::all_of(natives_.begin(), natives_.end(), [&](const auto& of_partition) {
           return of_partition[stage]->keeps_nothing();
         });
}

Gradients PythonStages::pull_back(size_t stage, size_t partition, const Tensors& inputs,
                                  Tensors output_gradients, int n_threads) {
  if (const auto& native = natives_[partition][stage])
    return native->pull_back(native_graphs_[partition], inputs, output_gradients, n_threads);
  return StageRunner::pull_back(stage, partition, inputs, std::move(output_gradients), n_threads);
}

StageOutput PythonStages::run(size_t stage, size_t partition, const Tensors& inputs, bool keep,
                              int n_threads) {
  if (const auto& native = natives_[partition][stage])
    return native->run(native_graphs_[partition], inputs, keep, n_threads);
  const py::gil_scoped_acquire gil;
  const exchange::OnKeptPages pages(reuses_memory);
  try {
    const py::tuple output =
        stage_of(stage, partition).attr("run")(py::object(graphs_[partition]), to_dict(inputs), keep);
    return {output[0].cast<Tensors>(),
            [this, pullback = shared(output[1]), stage, partition](const Tensors& output_gradients, int) {
              return pull_back(*pullback, stage, partition, output_gradients);
            }};
  } catch (py::error_already_set& error) {
    explain(error, stage, partition, "forward");
    throw;
  }
}

void PythonStages::check_interrupt() {
  const py::gil_scoped_acquire gil;
  if (PyErr_CheckSignals() != 0) throw py::error_already_set();
}

void PythonStages::add_others(const py::error_already_set& raised) const {
  for (const auto& [error, where] : failures_) {
    if (!error.is(raised.value())) {
      const auto type = py::type::of(error).attr("__name__");
      raised.value().attr("add_note")(py::str("and {}: {}: {}").format(where, type, error));
    }
  }
}

py::object PythonStages::stage_of(size_t stage, size_t partition) const {
  return py::list(stages_[partition])[stage];
}

Gradients PythonStages::pull_back(const py::object& pullback, size_t stage, size_t partition,
                                  const Tensors& output_gradients) {
  const py::gil_scoped_acquire gil;
  const exchange::OnKeptPages pages(reuses_memory);
  try {
    const py::tuple gradients = pullback(to_dict(output_gradients));
    const auto vectors = gradients[1].cast<std::optional<at::Tensor>>();
    return {gradients[0].cast<Tensors>(), vectors.value_or(at::Tensor())};
  } catch (py::error_already_set& error) {
    explain(error, stage, partition, "backward");
    throw;
  }
}

void PythonStages::explain(const py::error_already_set& error, size_t stage, size_t partition,
                           const char* direction) {
  const py::object name = stage_of(stage, partition).attr("name");
  const py::object device = py::object(graphs_[partition]).attr("atoms").attr("device");
  const py::str where =
      py::str("in the {} of stage '{}' on partition {} ({})").format(direction, name, partition, device);
  error.value().attr("add_note")(where);
  failures_.emplace_back(error.value(), where);
}

}  // namespace distmlip::bindings
