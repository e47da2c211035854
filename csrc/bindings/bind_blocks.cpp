// What of the executor is a `with` block in Python.
#include <torch/csrc/utils/pybind.h>

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "bindings/bindings.h"
#include "executor/default_streams.h"
#include "executor/flushed_team.h"

namespace py = pybind11;

namespace distmlip::bindings {
namespace {

struct FlushedBlock {
  std::optional<executor::FlushedTeam> team;
};
struct StreamsBlock {
  std::vector<at::Device> devices;
  std::unique_ptr<executor::DefaultStreams> current;
};

void bind_default_streams(py::module_& module) {
  py::class_<StreamsBlock>(
      module, "DefaultStreams",
      "In its `with` block the default streams of these devices are current on this thread, ordered with the "
      "streams that were current: after what those had been given, before what they are given later. The "
      "first device that is no CPU is the current one.")
      .def(
          py::init([](std::vector<at::Device> devices) { return StreamsBlock{std::move(devices), nullptr}; }),
          py::arg("devices"))
      .def("__enter__",
           [](StreamsBlock& block) {
             block.current = std::make_unique<executor::DefaultStreams>(block.devices);
           })
      .def("__exit__", [](StreamsBlock& block, const py::args&) { block.current = nullptr; });
}

void bind_flushed_team(py::module_& module) {
  py::class_<FlushedBlock>(
      module, "FlushedTeam",
      "In its `with` block subnormal numbers are zero for this thread and its intra-op threads.")
      .def(py::init<>())
      .def("__enter__",
           [](FlushedBlock& block) {
             const py::gil_scoped_release no_gil;
             block.team.emplace();
           })
      .def("__exit__", [](FlushedBlock& block, const py::args&) {
        const py::gil_scoped_release no_gil;
        block.team.reset();
      });
}

}  // namespace

void bind_blocks(py::module_& module) {
  bind_flushed_team(module);
  bind_default_streams(module);
}

}  // namespace distmlip::bindings
