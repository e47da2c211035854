#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <array>

#include "core/buffer.h"
#include "core/thread_pool.h"
#include "exchange/remote_rows.h"
#include "executor/device_parts.h"
#include "kernels/edge_forces.h"

namespace distmlip::executor {
namespace {

using partition::LocalCandidates;

constexpr int64_t force_width = kernels::EdgeForces::force_width,
                  virial_width = kernels::EdgeForces::virial_width;

template <class Real>
void add_edges(const partition::StepGraph& graph, int64_t n_owned, const LocalTensors& tensors,
               const at::Tensor& gradients, const kernels::EdgeForces& out) {
  const at::Tensor on_host = gradients.to(at::kCPU, c10::CppTypeToScalarType<Real>::value).contiguous();
  kernels::accumulate_forces<Real>(
      {n_owned, graph.row_begin.data(), tensors.senders.const_data_ptr<int64_t>(),
       tensors.vectors.const_data_ptr<Real>(), on_host.const_data_ptr<Real>()},
      out);
}

/// The last fold: owned rows of partition p with what halo rows of other partitions collected for them,
/// written to the rows of its atoms. `rows(q)`: (n_local, width) of partition q; `write(row, atom)`. Not
/// exchange::Fold, because it adds in place, in buffers of the host and of all partitions at once.
template <class Rows, class Write>
void fold(const std::vector<LocalCandidates>& parts, size_t p, int64_t width, Rows rows, Write write) {
  const LocalCandidates& part = parts[p];
  double* own = rows(p);
  part.send_groups.for_each_group([&](int32_t q, int32_t begin, int32_t end) {
    const LocalCandidates& reader = parts[q];
    const int64_t there = reader.halo_groups.find(static_cast<int32_t>(p));
    const double* from = rows(q) + width * (reader.n_owned() + reader.halo_groups.begin[there]);
    for (int32_t k = begin; k < end; ++k) {
      double* to = own + width * part.send[k];
      for (int64_t x = 0; x < width; ++x) to[x] += *from++;
    }
  });
  for (size_t row = 0; row < part.owned.size(); ++row)
    write(own + width * static_cast<int64_t>(row), part.owned[row]);
}

void add_vector(const double* vector, double* total) {
  for (int k = 0; k < 3; ++k) total[k] += vector[k];
}

/// visit(local row, atom) for the halo rows of atoms that other processes own.
template <class Visit>
void for_each_remote(const LocalCandidates& part, const exchange::Others& others, Visit visit) {
  part.halo_groups.for_each([&](int32_t owner, int32_t k) {
    if (others.has(owner)) visit(part.n_owned() + k, part.halo[k]);
  });
}

}  // namespace

void add_symmetric(const double* virial, double* matrix) {
  for (int k = 0; k < 3; ++k)
    for (int l = 0; l < 3; ++l) matrix[3 * k + l] += 0.5 * (virial[4 * k + l] + virial[4 * l + k]);
}

void Step::accumulate(size_t p, const at::Tensor& gradients, bool with_virials) {
  const LocalCandidates& part = decomposition_->parts[p];
  LocalForces& local = local_forces_[p];
  local.forces.assign(static_cast<size_t>(force_width * part.n_local()), 0.0);
  local.virials.assign(static_cast<size_t>(with_virials ? virial_width * part.n_local() : 0), 0.0);
  local.virial = {};
  if (!gradients.defined() || !on_host(p)) return;
  const auto add = dtype_ == at::kFloat ? add_edges<float> : add_edges<double>;
  add(graphs_[p], part.n_owned(), host_parts_[p], gradients,
      {local.forces.data(), local.virial.data(), with_virials ? local.virials.data() : nullptr});
}

Forces Step::forces(const exchange::PerPartition& edge_gradients, bool with_virials) {
  const int64_t n_atoms = decomposition_->n_atoms;
  Forces total{at::zeros({n_atoms, 3}, at::kDouble), at::zeros({3, 3}, at::kDouble), {}};
  if (with_virials) total.virials = at::zeros({n_atoms, 3, 3}, at::kDouble);
  const auto& parts = decomposition_->parts;
  for (const DeviceParts& device : devices_with_parts_) device.add_forces(parts_, edge_gradients, total);
  bool any_on_host = false;
  for (size_t p = 0; p < parts.size(); ++p) any_on_host |= on_host(p) && parts[p].n_owned() > 0;
  if (any_on_host) add_host_forces(edge_gradients, total);
  return total;
}

void Step::add_host_forces(const exchange::PerPartition& edge_gradients, Forces& total) {
  const auto& parts = decomposition_->parts;
  const auto n_parts = static_cast<int64_t>(parts.size());
  const int n_threads = at::get_num_threads();
  const bool with_virials = total.virials.defined();
  parallel_for(n_parts, n_threads, [&](int64_t p, int) { accumulate(p, edge_gradients[p], with_virials); });

  auto* forces = total.forces.mutable_data_ptr<double>();
  auto* virials = with_virials ? total.virials.mutable_data_ptr<double>() : nullptr;
  parallel_for(n_parts, n_threads, [&](int64_t p, int) {
    fold(
        parts, p, force_width, [&](size_t q) { return local_forces_[q].forces.data(); },
        [&](const double* row, int64_t atom) { add_vector(row, forces + 3 * atom); });
    if (with_virials) {
      fold(
          parts, p, virial_width, [&](size_t q) { return local_forces_[q].virials.data(); },
          [&](const double* row, int64_t atom) { add_symmetric(row, virials + 9 * atom); });
    }
  });
  for (size_t p = 0; others_ && p < parts.size(); ++p) {
    for_each_remote(parts[p], *others_, [&](int64_t row, int64_t atom) {
      add_vector(local_forces_[p].forces.data() + force_width * row, forces + 3 * atom);
      if (with_virials)
        add_symmetric(local_forces_[p].virials.data() + virial_width * row, virials + 9 * atom);
    });
  }
  std::array<double, virial_width> virial{};
  for (const auto& of_partition : local_forces_)
    for (size_t k = 0; k < virial.size(); ++k) virial[k] += of_partition.virial[k];
  add_symmetric(virial.data(), total.virial.mutable_data_ptr<double>());
}

}  // namespace distmlip::executor
