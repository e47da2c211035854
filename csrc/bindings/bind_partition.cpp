// Neighbour lists and partitions as NumPy arrays.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cmath>
#include <memory>
#include <optional>
#include <string>

#include "core/error.h"
#include "kernels/distance_filter.h"
#include "neighbors/neighbor_list.h"
#include "partition/decomposition.h"

namespace py = pybind11;

namespace distmlip::bindings {
namespace {

using cut::Method;
using partition::Decomposition;
using Doubles = py::array_t<double, py::array::c_style | py::array::forcecast>;
using Shape = std::vector<py::ssize_t>;

const double* checked_positions(const Doubles& positions) {
  if (positions.ndim() != 2 || positions.shape(1) != 3) invalid("positions must have the shape (n_atoms, 3)");
  return positions.data();
}

Cell cell_from(const Doubles& vectors, const std::array<bool, 3>& periodic) {
  if (vectors.ndim() != 2 || vectors.shape(0) != 3 || vectors.shape(1) != 3)
    invalid("cell must have the shape (3, 3)");
  Cell cell;
  cell.periodic = periodic;
  for (int axis = 0; axis < 3; ++axis) {  // vectors of open axes mean nothing, whatever they are
    if (periodic[axis]) std::copy_n(vectors.data() + 3 * axis, 3, cell.vectors.begin() + 3 * axis);
  }
  return cell;
}

/// An array that owns the buffer. Its memory will be used again when the array is gone: touching fresh pages
/// would cost more than finding the neighbours.
template <class Value>
py::array_t<Value> owning(Buffer<Value>&& values, const Shape& shape) {
  auto buffer = std::make_unique<Buffer<Value>>(std::move(values));
  Value* data = buffer->data();
  const py::capsule owner(buffer.get(), [](void* memory) { delete static_cast<Buffer<Value>*>(memory); });
  buffer.release();
  return py::array_t<Value>(shape, data, owner);
}

template <class Value>
py::array_t<Value> new_array(const Shape& shape) {
  py::ssize_t size = 1;
  for (const py::ssize_t length : shape) size *= length;
  return owning(Buffer<Value>(size), shape);
}

/// A new array that owns a copy.
template <class To, class From>
py::array_t<To> copied(const From* values, Shape shape) {
  py::array_t<To> array(shape);
  std::copy(values, values + array.size(), array.mutable_data());
  return array;
}

template <class Container>
py::array_t<int64_t> indices(const Container& values) {
  return copied<int64_t>(values.data(), {static_cast<py::ssize_t>(values.size())});
}

Method method_from(const std::string& name) {
  if (name == "auto") return Method::automatic;
  if (name == "slab") return Method::slab;
  if (name == "bisection") return Method::bisection;
  invalid("method is '", name, "'; it must be 'auto', 'slab' or 'bisection'");
}

std::string name_of(Method method) {
  return method == Method::automatic ? "auto" : method == Method::slab ? "slab" : "bisection";
}

py::dict neighbor_list(const std::string& quantities, const Doubles& positions, const Doubles& cell,
                       const std::array<bool, 3>& periodic, double cutoff, bool self_interaction,
                       int n_threads) {
  const double* data = checked_positions(positions);
  if (!(cutoff >= 0 && std::isfinite(cutoff)))
    invalid("cutoff is ", cutoff, " Ang; it must be finite and not negative");
  const Cell box = cell_from(cell, periodic);
  std::unique_ptr<neighbors::NeighborList> list;
  {
    const py::gil_scoped_release release;
    list = std::make_unique<neighbors::NeighborList>(data, positions.shape(0), box, cutoff, self_interaction,
                                                     n_threads);
  }
  const py::ssize_t n_pairs = list->n_pairs();
  py::dict arrays;
  neighbors::NeighborList::Output output;
  const auto add = [&]<class Value>(char quantity, Value*& target, Shape shape) {
    auto array = new_array<Value>(shape);
    target = array.mutable_data();
    arrays[py::str(std::string(1, quantity))] = array;
  };
  for (const char quantity : quantities) {
    switch (quantity) {
      case 'i':
        add('i', output.i, {n_pairs});
        break;
      case 'j':
        add('j', output.j, {n_pairs});
        break;
      case 'd':
        add('d', output.distance, {n_pairs});
        break;
      case 'D':
        add('D', output.vector, {n_pairs, 3});
        break;
      case 'S':
        add('S', output.shift, {n_pairs, 3});
        break;
      default:
        invalid("quantities has '", std::string(1, quantity), "'; it may have the letters of 'ijdDS'");
    }
  }
  {
    const py::gil_scoped_release release;
    list->write(output);
  }
  return arrays;
}

std::shared_ptr<Decomposition> make_decomposition(const Doubles& positions, const Doubles& cell,
                                                  const std::array<bool, 3>& periodic, double cutoff,
                                                  int32_t n_partitions, double bond_cutoff, double skin,
                                                  const std::string& method,
                                                  const std::optional<Doubles>& weights, int n_threads,
                                                  std::pair<int32_t, int32_t> here) {
  partition::Request request;
  request.positions = checked_positions(positions);
  request.n_atoms = positions.shape(0);
  request.cell = cell_from(cell, periodic);
  request.cutoff = cutoff;
  request.bond_cutoff = bond_cutoff;
  request.skin = skin;
  request.n_partitions = n_partitions;
  request.method = method_from(method);
  request.n_threads = n_threads;
  request.here = {here.first, here.second};
  if (weights) {
    if (weights->ndim() != 1 || weights->shape(0) != positions.shape(0))
      invalid("weights must have the shape (n_atoms,)");
    request.weights = weights->data();
  }
  const py::gil_scoped_release release;
  return std::make_shared<Decomposition>(partition::decompose(request));
}

const partition::LocalGraph& part_of(const Decomposition& decomposition, int partition) {
  if (partition < 0 || partition >= decomposition.n_partitions) throw py::index_error("no such partition");
  return decomposition.parts[partition];
}

py::tuple arrays_of(const partition::RowGroups& groups) {
  return py::make_tuple(indices(groups.partner), indices(groups.begin));
}

/// (n_edges, 3) the shift of each edge between atoms where they are, not where they were wrapped to.
Buffer<int64_t> shifts_of(const Decomposition& decomposition, const partition::LocalGraph& local,
                          const partition::StepGraph& graph, const int64_t* receivers) {
  Buffer<int64_t> shifts(3 * graph.n_edges);
  const auto wrap = [&](int64_t row) {
    return decomposition.wraps.data() + 3 * decomposition.wrap_index[local.global(row)];
  };
  for (int64_t edge = 0; edge < graph.n_edges; ++edge) {
    const int32_t candidate = graph.candidate[edge];
    const int32_t* coded =
        decomposition.shifts.data() + 3 * static_cast<int64_t>(local.shift_code[candidate]);
    const int32_t *sender = wrap(local.sender[candidate]), *receiver = wrap(receivers[edge]);
    for (int k = 0; k < 3; ++k) shifts[3 * edge + k] = coded[k] - sender[k] + receiver[k];
  }
  return shifts;
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
    shifts = shifts_of(decomposition, local, graph, receivers.data());
  }
  py::dict out;
  if (decomposition.has_bonds()) add_bonds(decomposition, partition, graph, senders.data(), out);
  out["senders"] = owning(std::move(senders), {graph.n_edges});
  out["receivers"] = owning(std::move(receivers), {graph.n_edges});
  out["vectors"] = owning(std::move(vectors), {graph.n_edges, 3});
  out["shifts"] = owning(std::move(shifts), {graph.n_edges, 3});
  return out;
}

}  // namespace

void bind_partition(py::module_& module) {
  module.def("neighbor_list", &neighbor_list, py::arg("quantities"), py::arg("positions"), py::arg("cell"),
             py::arg("periodic"), py::arg("cutoff"), py::arg("self_interaction"), py::arg("n_threads") = 0,
             "A new array per letter of quantities, by letter, as ase.neighborlist.neighbor_list has them.");
  module.attr("simd_levels") = kernels::simd_levels();
  module.def("set_simd", &kernels::set_simd, py::arg("level"),
             "Chooses one of simd_levels for the whole process; all give the same results.");
  py::class_<Decomposition, std::shared_ptr<Decomposition>>(
      module, "Decomposition",
      "A system cut into partitions; groups are pairs of arrays: partners, and where the rows of each begin.")
      .def(py::init(&make_decomposition), py::arg("positions"), py::arg("cell"), py::arg("periodic"),
           py::arg("cutoff"), py::arg("n_partitions"), py::arg("bond_cutoff") = 0.0, py::arg("skin") = 0.0,
           py::arg("method") = "auto", py::arg("weights") = py::none(), py::arg("n_threads") = 0,
           py::arg("here") = std::pair(0, 0))
      .def_readonly("n_atoms", &Decomposition::n_atoms)
      .def_readonly("n_partitions", &Decomposition::n_partitions)
      .def_readonly("cutoff", &Decomposition::cutoff)
      .def_readonly("bond_cutoff", &Decomposition::bond_cutoff)
      .def_readonly("skin", &Decomposition::skin)
      .def_property_readonly("method", [](const Decomposition& self) { return name_of(self.method); })
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
}

}  // namespace distmlip::bindings
