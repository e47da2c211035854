#include "executor/device_part.h"

#include <ATen/ATen.h>

#include <limits>
#include <utility>
#include <vector>

#include "core/error.h"
#include "kernels/edge_forces.h"

namespace distmlip::executor {
namespace {

template <class Container>
auto copied(kernels::DeviceKernels& kernels, const Container& values) {
  return kernels.copy_of(values.data(), static_cast<int64_t>(values.size()));
}

std::vector<int32_t> local_atoms(const partition::LocalCandidates& local) {
  std::vector<int32_t> atoms(local.owned.begin(), local.owned.end());
  atoms.insert(atoms.end(), local.halo.begin(), local.halo.end());
  return atoms;
}

}  // namespace

DeviceSystem::DeviceSystem(const partition::Decomposition& decomposition, at::Device device)
    : device_(device) {
  const c10::StreamGuard guard(default_stream(device));
  const auto kernels = kernels_on(device);
  wrap_index_ = copied(*kernels, decomposition.wrap_index);
  shift_of_code_ = copied(*kernels, decomposition.shifts);
  wraps_ = copied(*kernels, decomposition.wraps);
}

void DeviceSystem::update(const partition::Snapshot& snapshot) {
  const c10::StreamGuard guard(default_stream(device_));
  const auto kernels = kernels_on(device_);
  const kernels::ShiftTable shifts = snapshot.shifts();
  positions_ = kernels->copy_of(snapshot.positions(), 3 * snapshot.decomposition().n_atoms);
  cell_ = kernels->copy_of(shifts.cell, 9);
  shift_vectors_ = kernels->copy_of(shifts.vectors, 4 * snapshot.decomposition().n_codes());
}

kernels::ShiftTable DeviceSystem::shifts() const {
  return {cell_.data(), shift_of_code_.data(), shift_vectors_.data(), wraps_.data()};
}

DevicePart::DevicePart(const partition::Decomposition& decomposition, int32_t partition, at::Device device,
                       at::ScalarType dtype)
    : decomposition_(decomposition), partition_(partition), device_(device), dtype_(dtype) {
  const partition::LocalCandidates& local = decomposition.parts[partition];
  const c10::StreamGuard guard(default_stream(device));
  const auto kernels = kernels_on(device);
  candidates_.owned = copied(*kernels, local.owned);
  candidates_.halo = copied(*kernels, local.halo);
  candidates_.row_begin = copied(*kernels, local.row_begin);
  candidates_.sender = copied(*kernels, local.sender);
  candidates_.shift_code = copied(*kernels, local.shift_code);
  atoms_ = copied(*kernels, local_atoms(local));
  by_sender_ = kernels->sort_by_sender(candidates_);
  static_assert(sizeof(partition::LocalCandidates::CutCandidate) == 2 * sizeof(int32_t));
  const auto* pairs = reinterpret_cast<const int32_t*>(local.cut_candidate.data());
  cut_candidate_ = kernels->copy_of(pairs, 2 * static_cast<int64_t>(local.cut_candidate.size()));
}

LocalTensors DevicePart::update(const DeviceSystem& system, partition::StepGraph& graph) {
  const c10::StreamGuard guard(default_stream(device_));
  const auto kernels = kernels_on(device_);
  const auto rows = kernels->array<kernels::LocalAtom>(atoms_.size);
  kernels->gather_atoms(atoms_.size, atoms_.data(), system.positions(), system.wrap_index(), rows.data());
  kernels::FilterRequest request{};
  request.rows = {candidates_.row_begin.data(), candidates_.sender.data(), candidates_.shift_code.data()};
  request.n_rows = candidates_.n_owned();
  request.n_candidates = candidates_.n_candidates();
  request.atoms = rows.data();
  request.table = system.shifts();
  request.limit = kernels::squared_limit(decomposition_.cutoff);
  request.bond_limit = decomposition_.has_bonds() ? kernels::squared_limit(decomposition_.bond_cutoff) : 0.0;
  edges_ = kernels->filter_edges(request);
  LocalTensors tensors;
  if (dtype_ == at::kFloat)
    write_edges<float>(*kernels, request, tensors);
  else
    write_edges<double>(*kernels, request, tensors);
  graph.n_edges = edges_.n_edges;
  if (decomposition_.has_bonds()) {
    write_bonds(*kernels, tensors, graph);
    find_cut(*kernels, tensors, graph);
  }
  return tensors;
}

template <class Real>
void DevicePart::write_edges(kernels::DeviceKernels& kernels, const kernels::FilterRequest& request,
                             LocalTensors& tensors) {
  const auto indices = at::TensorOptions().device(device_).dtype(at::kLong);
  tensors.senders = at::empty({edges_.n_edges}, indices);
  tensors.receivers = at::empty({edges_.n_edges}, indices);
  tensors.vectors = at::empty({edges_.n_edges, 3}, indices.dtype(dtype_));
  candidate_of_edge_ = kernels.array<int32_t>(edges_.n_edges);
  short_edge_ = kernels.array<int32_t>(edges_.n_short);
  kernels.write_edges(
      request, edges_,
      kernels::EdgeOutput<Real>{tensors.senders.mutable_data_ptr<int64_t>(),
                                tensors.receivers.mutable_data_ptr<int64_t>(),
                                tensors.vectors.mutable_data_ptr<Real>(), candidate_of_edge_.data(),
                                decomposition_.has_bonds() ? short_edge_.data() : nullptr});
}

void DevicePart::write_bonds(kernels::DeviceKernels& kernels, LocalTensors& tensors,
                             partition::StepGraph& graph) {
  const auto indices = at::TensorOptions().device(device_).dtype(at::kLong);
  const int64_t n_rows = candidates_.n_owned();
  tensors.edge_bond = at::empty({edges_.n_edges}, indices);
  tensors.bond_edge = tensor_of(kernels.number_bonds(
      {n_rows, edges_.row_begin.data(), tensors.senders.const_data_ptr<int64_t>(), candidate_of_edge_.data(),
       candidates_.shift_code.data(), decomposition_.n_codes()},
      tensors.edge_bond.mutable_data_ptr<int64_t>()));
  graph.n_bonds = tensors.bond_edge.size(0);
  const auto angle_begin = kernels.array<int64_t>(n_rows + 1);
  graph.n_angles = kernels.count_angles(n_rows, edges_.short_begin.data(), angle_begin.data());
  partition::check_angles(graph.n_angles);
  tensors.angles = at::empty({graph.n_angles, 2}, indices);
  kernels.expand_angles(n_rows, edges_.short_begin.data(), short_edge_.data(), angle_begin.data(),
                        tensors.angles.mutable_data_ptr<int64_t>());
}

void DevicePart::find_cut(kernels::DeviceKernels& kernels, LocalTensors& tensors,
                          partition::StepGraph& graph) {
  const int64_t n = cut_candidate_.size / 2;
  const auto begin = kernels.array<int64_t>(n + 1);
  const auto cut_edge = kernels.find_cut_edges(
      {n, cut_candidate_.data(), edges_.short_begin.data(), short_edge_.data(), candidate_of_edge_.data()},
      begin.data());
  tensors.cut = at::empty({cut_edge.size}, tensors.edge_bond.options());
  kernels.gather_rows(cut_edge.size, sizeof(int64_t), cut_edge.data(),
                      tensors.edge_bond.const_data_ptr<int64_t>(), tensors.cut.mutable_data_ptr<int64_t>());
  const auto edges = kernels.copy_of(cut_edge);
  graph.cut_edge.assign(edges.begin(), edges.end());
  const auto found_before = kernels.copy_of(begin);
  graph.cut_groups = {};
  const auto& groups = decomposition_.parts[partition_].cut_groups;
  groups.for_each_group([&](int32_t partner, int32_t first, int32_t end) {
    const auto count = static_cast<int32_t>(found_before[end] - found_before[first]);
    if (count > 0) graph.cut_groups.append(partner, count);
  });
}

PartForces DevicePart::forces(const LocalTensors& tensors, const at::Tensor& edge_gradients,
                              bool with_virials) const {
  const c10::StreamGuard guard(default_stream(device_));
  const auto kernels = kernels_on(device_);
  const auto numbers = at::TensorOptions().device(device_).dtype(at::kDouble);
  PartForces out{at::zeros({candidates_.n_local(), 4}, numbers), at::zeros({3, 4}, numbers), {}};
  if (with_virials) out.virials = at::zeros({candidates_.n_local(), 3, 4}, numbers);
  if (dtype_ == at::kFloat)
    sum<float>(*kernels, tensors, edge_gradients, out);
  else
    sum<double>(*kernels, tensors, edge_gradients, out);
  return {out.forces.cpu(), out.virial.cpu(), with_virials ? out.virials.cpu() : at::Tensor()};
}

template <class Real>
void DevicePart::sum(kernels::DeviceKernels& kernels, const LocalTensors& tensors,
                     const at::Tensor& edge_gradients, const PartForces& out) const {
  const auto gradients = edge_gradients.to(device_, dtype_).contiguous();
  const auto edge_of = kernels.array<int32_t>(candidates_.n_candidates());
  kernels.index_edges(candidates_.n_candidates(), candidate_of_edge_.data(), edges_.n_edges, edge_of.data());
  kernels.sum_forces(
      kernels::EdgeGradients<Real>{candidates_.n_owned(), edges_.row_begin.data(),
                                   tensors.senders.const_data_ptr<int64_t>(),
                                   tensors.vectors.const_data_ptr<Real>(), gradients.const_data_ptr<Real>()},
      {candidates_.n_local(), by_sender_.row_begin.data(), by_sender_.candidate.data(), edge_of.data()},
      {out.forces.mutable_data_ptr<double>(), out.virial.mutable_data_ptr<double>(),
       out.virials.defined() ? out.virials.mutable_data_ptr<double>() : nullptr});
}

}  // namespace distmlip::executor
