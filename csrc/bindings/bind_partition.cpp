// Partitions as NumPy arrays, and the local graph of one on a device.
#include <c10/core/DeviceGuard.h>
#include <pybind11/stl.h>
#include <torch/csrc/utils/pybind.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "bindings/arrays.h"
#include "bindings/bindings.h"
#include "bindings/device_input.h"
#include "executor/device.h"
#include "partition/decomposition.h"
#include "partition/device_candidates.h"

namespace distmlip::bindings {
namespace {

using partition::Decomposition;

std::shared_ptr<Decomposition> make_decomposition(const Doubles& positions, const Doubles& cell,
                                                  const std::array<bool, 3>& periodic, double cutoff,
                                                  int32_t n_partitions, double bond_cutoff, double skin,
                                                  const std::string& method,
                                                  const std::optional<Doubles>& weights, int n_threads,
                                                  std::pair<int32_t, int32_t> here,
                                                  const std::optional<at::Device>& device) {
  partition::Request request;
  request.positions = checked_positions(positions);
  request.n_atoms = positions.shape(0);
  request.cell = cell_from(cell, periodic);
  request.cutoff = cutoff;
  request.bond_cutoff = bond_cutoff;
  request.skin = skin;
  request.n_partitions = n_partitions;
  request.method = cut::method_named(method);
  request.n_threads = n_threads;
  request.here = {here.first, here.second};
  if (device) {
    request.devices = {executor::share_of(*device)};
    for (int32_t p = 0; p < n_partitions; ++p) request.devices[0].partitions.push_back(p);
  }
  if (weights) {
    if (weights->ndim() != 1 || weights->shape(0) != positions.shape(0))
      invalid("weights must have the shape (n_atoms,)");
    request.weights = weights->data();
  }
  const py::gil_scoped_release release;
  return std::make_shared<Decomposition>(partition::decompose(request));
}

const partition::LocalCandidates& part_of(const Decomposition& decomposition, int partition) {
  if (partition < 0 || partition >= decomposition.n_partitions) throw py::index_error("no such partition");
  return decomposition.parts[partition];
}

py::tuple arrays_of(const partition::RowGroups& groups) {
  return py::make_tuple(indices(groups.partner), indices(groups.begin));
}

void add_bonds(const Decomposition& decomposition, int partition, const partition::StepGraph& graph,
               const int64_t* senders, py::dict& out) {
  Buffer<int64_t> edge_bond(graph.n_edges), bond_edge(graph.n_bonds), angles(2 * graph.n_angles);
  {
    const py::gil_scoped_release release;
    partition::write_bonds(decomposition, partition, graph, senders,
                           {edge_bond.data(), bond_edge.data(), angles.data()});
  }
  const int64_t n_short = graph.short_begin.back();
  out["edge_bond"] = owning(std::move(edge_bond), {graph.n_edges});
  out["bond_edge"] = owning(std::move(bond_edge), {graph.n_bonds});
  out["short_edges"] = copied<int64_t>(graph.short_edge.data(), {n_short});
  out["angles"] = owning(std::move(angles), {graph.n_angles, 2});
  out["cut_edges"] = indices(graph.cut_edge);
  out["cut_groups"] = arrays_of(graph.cut_groups);
}

py::dict step(const Decomposition& decomposition, int partition, const Doubles& positions,
              const std::optional<Doubles>& cell, int n_threads) {
  const auto& local = part_of(decomposition, partition);
  const double* data = checked_positions(positions);
  if (positions.shape(0) != decomposition.n_atoms) invalid("the number of atoms has changed");
  if (local.on_device) invalid("the candidates of partition ", partition, " are on a device; use Step");
  const Cell now = cell ? cell_from(*cell, decomposition.cell.periodic) : decomposition.cell;
  const partition::Snapshot snapshot(decomposition, data, now);
  partition::StepGraph graph;
  const int64_t room = partition::edge_room(local, n_threads);
  Buffer<int64_t> senders(room), receivers(room), shifts;
  Buffer<double> vectors(3 * room);
  {
    const py::gil_scoped_release release;
    partition::write_edges<double>(snapshot, partition, n_threads, /*with_candidates=*/true,
                                   {senders.data(), receivers.data(), vectors.data()}, graph);
    shifts.resize(3 * graph.n_edges);
    partition::write_shifts(decomposition, partition, graph, receivers.data(), shifts.data());
  }
  py::dict out;
  if (decomposition.has_bonds()) add_bonds(decomposition, partition, graph, senders.data(), out);
  out["senders"] = owning(std::move(senders), {graph.n_edges});
  out["receivers"] = owning(std::move(receivers), {graph.n_edges});
  out["vectors"] = owning(std::move(vectors), {graph.n_edges, 3});
  out["shifts"] = owning(std::move(shifts), {graph.n_edges, 3});
  return out;
}

std::map<std::string, at::Tensor> device_candidates(const at::Tensor& positions, const at::Tensor& cell,
                                                    const std::array<bool, 3>& periodic, double radius,
                                                    const at::Tensor& owner, int32_t n_partitions,
                                                    int32_t partition) {
  const DeviceInput input = checked_input(positions, cell, periodic, radius);
  if (!(radius > 0)) invalid("radius is ", radius, " Ang; it must be above 0");
  if (partition < 0 || partition >= n_partitions)
    invalid("partition is ", partition, "; it must be between 0 and ", n_partitions - 1);
  if (owner.sizes() != at::IntArrayRef{input.positions.size(0)})
    invalid("owner must have the shape (n_atoms,)");
  const at::Tensor owners = owner.to(positions.device(), at::kInt).contiguous();
  const c10::DeviceGuard guard(positions.device());
  const auto kernels = executor::kernels_on(positions.device());
  const partition::DeviceSearch search(*kernels, input.cell, input.positions.const_data_ptr<double>(),
                                       input.positions.size(0), radius);
  const auto rows = search.rows({owners.const_data_ptr<int32_t>(), n_partitions, partition});
  return {{"owned", executor::tensor_of(rows.owned)},
          {"halo", executor::tensor_of(rows.halo)},
          {"row_begin", executor::tensor_of(rows.row_begin)},
          {"sender", executor::tensor_of(rows.sender)},
          {"shift_code", executor::tensor_of(rows.shift_code)},
          {"wrap", executor::tensor_of(search.atoms().wrapped.counts).view({-1, 3})},
          {"shifts", at::tensor(search.atoms().shifts, at::kInt).view({-1, 3}).to(positions.device())}};
}

}  // namespace

void bind_partition(py::module_& module) {
  module.attr("methods") = py::tuple(py::cast(cut::method_names()));
  py::class_<Decomposition, std::shared_ptr<Decomposition>>(
      module, "Decomposition",
      "A system cut into partitions; groups are pairs of arrays: partners, and where the rows of each begin.")
      .def(py::init(&make_decomposition), py::arg("positions"), py::arg("cell"), py::arg("periodic"),
           py::arg("cutoff"), py::arg("n_partitions"), py::arg("bond_cutoff") = 0.0, py::arg("skin") = 0.0,
           py::arg("method") = "auto", py::arg("weights") = py::none(), py::arg("n_threads") = 0,
           py::arg("here") = std::pair(0, 0), py::arg("device") = py::none(),
           "device: where candidates are made and stay, by the kernels for devices; None: the host.")
      .def_readonly("n_atoms", &Decomposition::n_atoms)
      .def_readonly("n_partitions", &Decomposition::n_partitions)
      .def_readonly("cutoff", &Decomposition::cutoff)
      .def_readonly("bond_cutoff", &Decomposition::bond_cutoff)
      .def_readonly("skin", &Decomposition::skin)
      .def_property_readonly("method", [](const Decomposition& self) { return cut::name_of(self.method); })
      .def_property_readonly("owner", [](const Decomposition& self) { return indices(self.owner); })
      .def("owned", [](const Decomposition& self, int p) { return indices(part_of(self, p).owned); })
      .def("halo", [](const Decomposition& self, int p) { return indices(part_of(self, p).halo); })
      .def("halo_groups",
           [](const Decomposition& self, int p) { return arrays_of(part_of(self, p).halo_groups); })
      .def("send", [](const Decomposition& self, int p) { return indices(part_of(self, p).send); })
      .def("send_groups",
           [](const Decomposition& self, int p) { return arrays_of(part_of(self, p).send_groups); })
      .def(
          "still_valid",
          [](const Decomposition& self, const Doubles& positions, const Doubles& cell,
             const std::array<bool, 3>& periodic) {
            const double* data = checked_positions(positions);
            const Cell now = cell_from(cell, periodic);
            const py::gil_scoped_release release;
            return partition::still_valid(self, data, positions.shape(0), now);
          },
          py::arg("positions"), py::arg("cell"), py::arg("periodic"))
      .def("step", &step, py::arg("partition"), py::arg("positions"), py::arg("cell") = py::none(),
           py::arg("n_threads") = 1,
           "The graph of one partition at the given positions, as a dict of new arrays.");
  module.def(
      "device_candidates", &device_candidates, py::arg("positions"), py::arg("cell"), py::arg("periodic"),
      py::arg("radius"), py::arg("owner"), py::arg("n_partitions"), py::arg("partition"),
      py::call_guard<py::gil_scoped_release>(),
      "The rows of one partition by receiver, as device_neighbor_rows has those of all atoms: owned and\n"
      "halo atoms, halo grouped by owner; senders are local rows.");
}

}  // namespace distmlip::bindings
