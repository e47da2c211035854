#include "executor/step.h"

#include <ATen/ATen.h>

#include <utility>

#include "kernels/edge_forces.h"

namespace distmlip::executor {
namespace {

/// A copy on the device, independent of the buffer that the next step will overwrite.
template <class Value>
at::Tensor to_device(const Value* values, at::IntArrayRef shape, at::Device device, at::ScalarType dtype) {
  const auto view = at::from_blob(const_cast<Value*>(values), shape, c10::CppTypeToScalarType<Value>::value);
  return view.to(device, dtype, /*non_blocking=*/false, /*copy=*/true);
}

at::Tensor rows_to_device(const std::vector<std::vector<int32_t>>& groups, size_t first, size_t n,
                          at::Device device) {
  std::vector<int64_t> rows;
  for (size_t q = 0; q < n; ++q) {
    rows.insert(rows.end(), groups[first + q].begin(), groups[first + q].end());
  }
  return to_device(rows.data(), static_cast<int64_t>(rows.size()), device, at::kLong);
}

}  // namespace

Step::Step(std::shared_ptr<const partition::Decomposition> decomposition, std::vector<at::Device> devices,
           at::ScalarType dtype)
    : decomposition_(std::move(decomposition)),
      devices_(std::move(devices)),
      dtype_(dtype),
      wrapped_(static_cast<size_t>(3 * decomposition_->n_atoms)),
      graphs_(decomposition_->parts.size()),
      parts_(decomposition_->parts.size()) {
  const size_t n = decomposition_->parts.size();
  TORCH_CHECK_VALUE(devices_.size() == n, "got ", devices_.size(), " devices for ", n,
                    " partitions; give one each");
  for (size_t p = 0; p < n; ++p) {
    atoms_.rows.push_back(rows_to_device(decomposition_->send, p * n, n, devices_[p]));
    for (size_t q = 0; q < n; ++q) {
      atoms_.counts.push_back(static_cast<int64_t>(decomposition_->send[p * n + q].size()));
    }
  }
}

void Step::update(const double* positions) {
  partition::wrap_positions(*decomposition_, positions, wrapped_.data());
  for (size_t p = 0; p < parts_.size(); ++p) {
    partition::update(*decomposition_, static_cast<int>(p), wrapped_.data(), graphs_[p]);
    parts_[p] = tensors_of(p);
  }
  if (decomposition_->has_bonds()) {
    bonds_ = bond_plan();
  }
}

LocalTensors Step::tensors_of(size_t p) const {
  const auto& graph = graphs_[p];
  const auto device = devices_[p];
  LocalTensors tensors;
  tensors.senders = to_device(graph.senders.data(), graph.n_edges, device, at::kLong);
  tensors.receivers = to_device(graph.receivers.data(), graph.n_edges, device, at::kLong);
  tensors.vectors = to_device(graph.vectors.data(), {graph.n_edges, 3}, device, dtype_);
  if (decomposition_->has_bonds()) {
    tensors.edge_bond = to_device(graph.edge_bond.data(), graph.n_edges, device, at::kLong);
    tensors.bond_edge = to_device(graph.bond_edge.data(), graph.n_bonds, device, at::kLong);
    tensors.angles = to_device(graph.angles.data(), {graph.n_angles, 2}, device, at::kLong);
    tensors.cut =
        to_device(graph.cut_rows.data(), static_cast<int64_t>(graph.cut_rows.size()), device, at::kLong);
  }
  return tensors;
}

exchange::RowPlan Step::bond_plan() const {
  exchange::RowPlan plan;
  for (size_t p = 0; p < parts_.size(); ++p) {
    plan.rows.push_back(parts_[p].cut);
    for (size_t q = 0; q < parts_.size(); ++q) {
      plan.counts.push_back(graphs_[p].cut_begin[q + 1] - graphs_[p].cut_begin[q]);
    }
  }
  return plan;
}

std::vector<int64_t> Step::n_owned() const {
  std::vector<int64_t> sizes;
  for (const auto& part : decomposition_->parts) {
    sizes.push_back(static_cast<int64_t>(part.owned.size()));
  }
  return sizes;
}

std::vector<int64_t> Step::n_bonds() const {
  std::vector<int64_t> sizes;
  for (const auto& graph : graphs_) {
    sizes.push_back(decomposition_->has_bonds() ? graph.n_bonds : 0);
  }
  return sizes;
}

Forces Step::forces(const exchange::PerPartition& edge_gradients) const {
  const int64_t n_atoms = decomposition_->n_atoms;
  Forces total{at::zeros({n_atoms, 3}, at::kDouble), at::zeros({n_atoms, 3, 3}, at::kDouble)};
  auto* forces = total.forces.mutable_data_ptr<double>();
  auto* virials = total.virials.mutable_data_ptr<double>();
  std::vector<double> local_forces, local_virials;
  for (size_t p = 0; p < parts_.size(); ++p) {
    if (!edge_gradients[p].defined()) {
      continue;
    }
    const auto& part = decomposition_->parts[p];
    const auto& graph = graphs_[p];
    const auto gradients = edge_gradients[p].to(at::kCPU, at::kDouble).contiguous();
    const size_t n_local = part.owned.size() + part.halo.size();
    local_forces.assign(3 * n_local, 0.0);
    local_virials.assign(9 * n_local, 0.0);
    kernels::accumulate_forces(graph.n_edges, graph.receivers.data(), graph.senders.data(),
                               graph.vectors.data(), gradients.const_data_ptr<double>(), local_forces.data(),
                               local_virials.data());
    // The last fold: what halo rows collected goes to their owners.
    const auto fold = [&](size_t row, int32_t atom) {
      for (size_t x = 0; x < 3; ++x) {
        forces[3 * static_cast<size_t>(atom) + x] += local_forces[3 * row + x];
      }
      for (size_t x = 0; x < 9; ++x) {
        virials[9 * static_cast<size_t>(atom) + x] += local_virials[9 * row + x];
      }
    };
    for (size_t row = 0; row < n_local; ++row) {
      fold(row, row < part.owned.size() ? part.owned[row] : part.halo[row - part.owned.size()]);
    }
  }
  return total;
}

}  // namespace distmlip::executor
