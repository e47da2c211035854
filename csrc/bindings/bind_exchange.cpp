// Exchanges by themselves, and the group of ranks.
#include <ATen/ATen.h>
#include <pybind11/stl.h>
#include <torch/csrc/utils/pybind.h>

#include <map>
#include <stdexcept>
#include <string>
#include <utility>

#include "bindings/bindings.h"
#include "exchange/crossing.h"
#include "exchange/group.h"
#include "executor/step.h"

namespace py = pybind11;

namespace distmlip::bindings {
namespace {

using exchange::Crossing;
using exchange::PerPartition;
using exchange::RankGroup;
using exchange::Routes;
using no_gil = py::call_guard<py::gil_scoped_release>;

template <class Kind>
std::shared_ptr<const exchange::Exchange> make(std::string name, std::vector<int64_t> width) {
  return std::make_shared<const Kind>(std::move(name), std::move(width));
}

/// `sent[d]`: the rows of pool d that others read, send_counts[d][e] of them by pool e.
Routes routes_of(PerPartition packed, PerPartition sources, std::vector<int64_t> pools,
                 const PerPartition& sent, const std::vector<std::vector<int64_t>>& send_counts) {
  Routes routes{std::move(packed), std::move(sources), std::move(pools), {}};
  for (size_t d = 0; d < sent.size(); ++d) {
    std::vector<int64_t> receive_counts;
    for (const auto& counts : send_counts) receive_counts.push_back(counts.at(d));
    routes.peers.push_back({sent[d], send_counts.at(d), std::move(receive_counts)});
  }
  check(routes);
  return routes;
}

/// `tensors[k]`: of every partition, what exchange k is given.
std::vector<PerPartition> cross(const Crossing& crossing, const py::iterable& exchanges,
                                std::vector<PerPartition> tensors, bool adjoint) {
  exchange::Exchanges all;
  for (const auto& exchange : exchanges) {
    const auto forward = exchange_of(exchange);
    all.push_back(adjoint ? forward->adjoint() : forward);
  }
  const py::gil_scoped_release released;
  return crossing.cross(all, std::move(tensors));
}

void bind_ranks(py::module_& module) {
  py::class_<RankGroup, std::shared_ptr<RankGroup>>(module, "RankGroup", "A c10d process group, by its name.")
      .def(py::init<const std::string&, at::Device>(), py::arg("group"), py::arg("device"))
      .def_property_readonly("rank", &RankGroup::rank)
      .def_property_readonly("size", &RankGroup::size)
      .def("all_sum", &RankGroup::all_sum, py::arg("tensor"), no_gil(), "In place.")
      .def("broadcast", &RankGroup::broadcast, py::arg("tensor"), no_gil(), "From rank 0, in place.")
      .def(
          "all_to_all",
          [](RankGroup& ranks, const at::Tensor& sent, const std::vector<int64_t>& send_counts) {
            std::vector<int64_t> receive_counts;
            const at::Tensor received = ranks.all_to_all_unknown(sent, send_counts, receive_counts);
            return std::pair(received, receive_counts);
          },
          py::arg("sent"), py::arg("send_counts"), no_gil())
      .def("abandon", &RankGroup::abandon, py::arg("reason"), no_gil(),
           "Ends all waiting with a RankError that says this.")
      .def_property_readonly("broken", &RankGroup::broken)
      .def_property_readonly("begun", &RankGroup::begun, "How many collectives this rank has begun.")
      .def_property_readonly("abandoned", &RankGroup::abandoned)
      .def("check", &RankGroup::check);
}

}  // namespace

std::shared_ptr<const exchange::Exchange> exchange_of(const py::handle& exchange) {
  static const std::map<std::string, decltype(&make<exchange::Halo>)> kinds{
      {"halo", &make<exchange::Halo>},
      {"fold", &make<exchange::Fold>},
      {"add", &make<exchange::Add>},
      {"swap", &make<exchange::Swap>},
      {"all_sum", &make<exchange::AllSum>}};
  const auto kind = exchange.attr("kind").cast<std::string>();
  const auto found = kinds.find(kind);
  if (found == kinds.end())
    throw std::invalid_argument("exchange of kind '" + kind +
                                "'; it must be halo, fold, add, swap or all_sum");
  return found->second(exchange.attr("name").cast<std::string>(),
                       exchange.attr("width").cast<std::vector<int64_t>>());
}

void bind_exchange(py::module_& module) {
  bind_ranks(module);
  py::class_<Routes>(module, "Routes", "Who reads which rows of whom (csrc/exchange/routes.h).")
      .def(py::init(&routes_of), py::arg("packed"), py::arg("sources"), py::arg("pools"), py::arg("sent"),
           py::arg("send_counts"));
  py::class_<Crossing>(module, "Crossing", "What crosses partitions, at the last update of a step.")
      .def(py::init([](const executor::Step& step) { return step.crossing(at::kDouble); }), py::arg("step"))
      .def(py::init(
               [](std::vector<int64_t> n_owned, std::vector<int64_t> n_bonds, Routes atoms, Routes bonds) {
                 const auto n = static_cast<int64_t>(n_owned.size());
                 return Crossing{std::move(n_owned),
                                 std::move(n_bonds),
                                 std::move(atoms),
                                 std::move(bonds),
                                 at::kDouble,
                                 nullptr,
                                 n};
               }),
           py::arg("n_owned"), py::arg("n_bonds"), py::arg("atoms"), py::arg("bonds"))
      .def(
          "cross", &cross, py::arg("exchanges"), py::arg("tensors"), py::arg("adjoint"),
          "What the exchanges of a stage, or their adjoints, make of tensors[exchange][partition]; all ranks "
          "call it together.");
}

}  // namespace distmlip::bindings
