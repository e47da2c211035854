// Arithmetic without subnormal numbers in a thread of Python's.
#include <optional>

#include "bindings/bindings.h"
#include "executor/flushed_team.h"

namespace py = pybind11;

namespace distmlip::bindings {
namespace {

/// The `with` block of Python.
struct FlushedBlock {
  std::optional<executor::FlushedTeam> team;
};

}  // namespace

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

}  // namespace distmlip::bindings
