// Memory that the core keeps.
#include "bindings/bindings.h"
#include "core/pages.h"

namespace py = pybind11;

namespace distmlip::bindings {

void bind_core(py::module_& module) {
  module.def(
      "keep_at_most", &keep_at_most, py::arg("n_bytes"), py::call_guard<py::gil_scoped_release>(),
      "From now on so many bytes of freed arrays are kept for the next ones; the system gets the others.");
  module.def(
      "kept_pages",
      [] {
        const KeptPages kept = kept_pages();
        return py::make_tuple(kept.bytes, kept.limit);
      },
      "Bytes of freed arrays that are kept now, and the most that may be.");
}

}  // namespace distmlip::bindings
