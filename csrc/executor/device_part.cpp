#include "executor/device_part.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <bit>
#include <utility>
#include <vector>

#include "exchange/device_copies.h"
#include "kernels/edge_forces.h"

namespace distmlip::executor {
namespace {

/// Room for n rows, and up to a sixteenth more: tensors of a few sizes only fit into the memory of those of
/// the step before, where an allocator would keep one block for each size that there ever was.
int64_t room_for(int64_t n) {
  const int64_t grain = std::max<int64_t>(256, static_cast<int64_t>(std::bit_floor(uint64_t(n))) / 16);
  return (n + grain - 1) / grain * grain;
}

at::Tensor indices(int64_t n, at::Device device) {
  return at::empty({room_for(n)}, at::TensorOptions().device(device).dtype(at::kLong)).narrow(0, 0, n);
}

}  // namespace

DeviceSystem::DeviceSystem(kernels::DeviceKernels& kernels, const partition::Decomposition& decomposition,
                           at::Device device)
    : device_(device), tables_(kernels, decomposition), n_atoms_(decomposition.n_atoms) {}

void DeviceSystem::update(const partition::Snapshot& snapshot) {
  const kernels::ShiftTable shifts = snapshot.shifts();
  const int64_t n_vectors = 4 * snapshot.decomposition().n_codes();
  const at::Tensor numbers = exchange::host_memory({3 * n_atoms_ + 9 + n_vectors}, at::kDouble, device_);
  auto* to = numbers.mutable_data_ptr<double>();
  to = std::copy_n(snapshot.positions(), 3 * n_atoms_, to);
  to = std::copy_n(shifts.cell, 9, to);
  std::copy_n(shifts.vectors, n_vectors, to);
  numbers_ = to_device(numbers, device_);
}

kernels::ShiftTable DeviceSystem::shifts() const {
  const double* cell = positions() + 3 * n_atoms_;
  return tables_.at(cell, cell + 9);
}

DevicePart::DevicePart(kernels::DeviceKernels& kernels, const partition::Decomposition& decomposition,
                       int32_t partition, at::ScalarType dtype, const std::vector<int32_t>& sum_of)
    : decomposition_(decomposition),
      local_(decomposition.parts[partition]),
      dtype_(dtype),
      candidates_(*local_.on_device),
      atoms_(kernels.copy_of(local_.atoms())),
      sum_of_(kernels.copy_of(sum_of)),
      by_sender_(kernels.sort_by_sender(candidates_)) {
  static_assert(sizeof(partition::LocalCandidates::CutCandidate) == 2 * sizeof(int32_t));
  const auto* pairs = reinterpret_cast<const int32_t*>(local_.cut_candidate.data());
  cut_candidate_ = kernels.copy_of(pairs, 2 * std::ssize(local_.cut_candidate));
  cut_bounds_ = kernels.copy_of(local_.cut_groups.begin);
}

LocalTensors DevicePart::update(kernels::DeviceKernels& kernels, const DeviceSystem& system,
                                partition::StepGraph& graph) {
  const auto rows = kernels.array<kernels::LocalAtom>(atoms_.size);
  kernels.gather_atoms(atoms_.size, atoms_.data(), system.positions(), system.wrap_index(), rows.data());
  kernels::FilterRequest request{};
  request.rows = candidates_.candidates();
  request.n_rows = candidates_.n_owned();
  request.n_candidates = candidates_.n_candidates();
  request.atoms = rows.data();
  request.table = system.shifts();
  request.limit = kernels::squared_limit(decomposition_.cutoff);
  request.bond_limit = decomposition_.has_bonds() ? kernels::squared_limit(decomposition_.bond_cutoff) : 0.0;
  edges_ = kernels.filter_edges(request);
  graph.n_edges = edges_.n_edges;
  LocalTensors tensors;
  tensors.senders = indices(edges_.n_edges, system.device());
  tensors.receivers = indices(edges_.n_edges, system.device());
  if (dtype_ == at::kFloat)
    write_edges<float>(kernels, request, tensors);
  else
    write_edges<double>(kernels, request, tensors);
  if (decomposition_.has_bonds()) write_bonds(kernels, tensors, graph);
  return tensors;
}

template <class Real>
void DevicePart::write_edges(kernels::DeviceKernels& kernels, const kernels::FilterRequest& request,
                             LocalTensors& tensors) {
  const bool has_bonds = decomposition_.has_bonds();
  tensors.vectors = at::empty({room_for(edges_.n_edges), 3}, tensors.senders.options().dtype(dtype_))
                        .narrow(0, 0, edges_.n_edges);
  edge_of_ = kernels.array<int32_t>(candidates_.n_candidates());
  if (has_bonds) {
    candidate_of_edge_ = kernels.array<int32_t>(room_for(edges_.n_edges));
    short_edge_ = kernels.array<int32_t>(room_for(edges_.n_short));
  }
  kernels.write_edges(request, edges_,
                      kernels::EdgeOutput<Real>{tensors.senders.mutable_data_ptr<int64_t>(),
                                                tensors.receivers.mutable_data_ptr<int64_t>(),
                                                tensors.vectors.mutable_data_ptr<Real>(), edge_of_.data(),
                                                has_bonds ? candidate_of_edge_.data() : nullptr,
                                                has_bonds ? short_edge_.data() : nullptr});
}

void DevicePart::write_bonds(kernels::DeviceKernels& kernels, LocalTensors& tensors,
                             partition::StepGraph& graph) {
  const at::Device device = tensors.senders.device();
  const int64_t n_rows = candidates_.n_owned(), n_cut = cut_candidate_.size / 2;
  const auto angle_begin = kernels.array<int64_t>(n_rows + 1);
  const at::Tensor bond_edge = indices(edges_.n_edges, device), short_bonds = indices(edges_.n_short, device),
                   cut = indices(n_cut, device);
  tensors.edge_bond = indices(edges_.n_edges, device);
  const kernels::BondSizes sizes = kernels.number_bonds(
      {{n_rows, edges_.row_begin.data(), tensors.senders.const_data_ptr<int64_t>(), candidate_of_edge_.data(),
        candidates_.shift_code.data(), decomposition_.n_codes()},
       edges_.n_edges,
       edges_.n_short,
       edges_.short_begin.data(),
       short_edge_.data(),
       edge_of_.data(),
       n_cut,
       cut_candidate_.data(),
       cut_bounds_.size,
       cut_bounds_.data()},
      {tensors.edge_bond.mutable_data_ptr<int64_t>(), bond_edge.mutable_data_ptr<int64_t>(),
       short_bonds.mutable_data_ptr<int64_t>(), cut.mutable_data_ptr<int64_t>(), angle_begin.data()});
  graph.n_bonds = sizes.n_bonds;
  graph.n_angles = sizes.n_angles;
  partition::check_angles(graph.n_angles);
  graph.cut_groups = {};
  for (size_t group = 0; group < local_.cut_groups.partner.size(); ++group) {
    const auto count = static_cast<int32_t>(sizes.cut_before[group + 1] - sizes.cut_before[group]);
    if (count > 0) graph.cut_groups.append(local_.cut_groups.partner[group], count);
  }
  tensors.bond_edge = bond_edge.narrow(0, 0, sizes.n_bonds);
  tensors.short_bonds = short_bonds.narrow(0, 0, sizes.n_short_bonds);
  tensors.cut = cut.narrow(0, 0, graph.n_cut());
  tensors.angles = indices(2 * sizes.n_angles, device).view({-1, 2});
  kernels.expand_angles(n_rows, edges_.short_begin.data(), short_edge_.data(), angle_begin.data(),
                        tensors.angles.mutable_data_ptr<int64_t>());
}

void DevicePart::add_forces(kernels::DeviceKernels& kernels, const LocalTensors& tensors,
                            const at::Tensor& edge_gradients, const kernels::EdgeForces& out) const {
  const at::Tensor gradients = edge_gradients.to(tensors.vectors.device(), dtype_).contiguous();
  const kernels::SentEdges sent{candidates_.n_local(), by_sender_.row_begin.data(),
                                by_sender_.candidate.data(), edge_of_.data(), sum_of_.data()};
  const auto sum = [&]<class Real>(Real) {
    kernels.sum_forces(kernels::EdgeGradients<Real>{candidates_.n_owned(), edges_.row_begin.data(),
                                                    tensors.senders.const_data_ptr<int64_t>(),
                                                    tensors.vectors.const_data_ptr<Real>(),
                                                    gradients.const_data_ptr<Real>()},
                       sent, out);
  };
  dtype_ == at::kFloat ? sum(float{}) : sum(double{});
}

}  // namespace distmlip::executor
