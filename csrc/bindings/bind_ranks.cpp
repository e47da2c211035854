// Collectives among processes.
#include <pybind11/stl.h>
#include <torch/csrc/utils/pybind.h>

#include <string>

#include "bindings/bindings.h"
#include "exchange/ranks.h"

namespace py = pybind11;

namespace distmlip::bindings {

void bind_ranks(py::module_& module) {
  using exchange::Ranks;
  using no_gil = py::call_guard<py::gil_scoped_release>;
  py::class_<Ranks>(module, "Ranks", "A c10d process group, by its name.")
      .def(py::init<const std::string&, at::Device>(), py::arg("group"), py::arg("device"))
      .def_property_readonly("rank", &Ranks::rank)
      .def_property_readonly("size", &Ranks::size)
      .def("all_sum", &Ranks::all_sum, py::arg("tensor"), no_gil(), "In place.")
      .def("broadcast", &Ranks::broadcast, py::arg("tensor"), no_gil(), "From rank 0, in place.")
      .def(
          "all_to_all",
          [](Ranks& ranks, const at::Tensor& sent, const std::vector<int64_t>& send_counts) {
            std::vector<int64_t> receive_counts;
            const at::Tensor received = ranks.all_to_all_unknown(sent, send_counts, receive_counts);
            return std::pair(received, receive_counts);
          },
          py::arg("sent"), py::arg("send_counts"), no_gil())
      .def("abandon", &Ranks::abandon, py::arg("reason"), no_gil(),
           "Ends all waiting with a RankError that says this.")
      .def_property_readonly("broken", &Ranks::broken)
      .def_property_readonly("abandoned", &Ranks::abandoned)
      .def("check", &Ranks::check);
}

}  // namespace distmlip::bindings
