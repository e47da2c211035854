#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <array>

#include "core/buffer.h"
#include "core/thread_pool.h"
#include "executor/device_part.h"
#include "kernels/edge_forces.h"

namespace distmlip::executor {
namespace {

using partition::LocalGraph;

/// Numbers of a row: see kernels::EdgeForces.
constexpr int64_t force_width = 4, virial_width = 12;

/// What the edges of one partition give to its local rows.
struct LocalForces {
  Buffer<double> forces;   // (n_local, force_width)
  Buffer<double> virials;  // (n_local, virial_width), or nothing
  std::array<double, virial_width> virial{};
};

template <class Real>
void accumulate(const partition::StepGraph& graph, int64_t n_owned, const LocalTensors& tensors,
                const at::Tensor& gradients, LocalForces& local) {
  const at::Tensor on_host = gradients.to(at::kCPU, c10::CppTypeToScalarType<Real>::value).contiguous();
  kernels::accumulate_forces<Real>(
      {n_owned, graph.row_begin.data(), tensors.senders.const_data_ptr<int64_t>(),
       tensors.vectors.const_data_ptr<Real>(), on_host.const_data_ptr<Real>()},
      {local.forces.data(), local.virial.data(), local.virials.empty() ? nullptr : local.virials.data()});
}

void copy(const PartForces& from, LocalForces& to) {
  const auto copy_tensor = [](const at::Tensor& tensor, double* values) {
    std::copy_n(tensor.const_data_ptr<double>(), tensor.numel(), values);
  };
  copy_tensor(from.forces, to.forces.data());
  copy_tensor(from.virial, to.virial.data());
  if (from.virials.defined()) {
    copy_tensor(from.virials, to.virials.data());
  }
}

/// The last fold: owned rows of partition p with what halo rows of other partitions collected for them,
/// written to the rows of its atoms. `rows(q)`: (n_local, width) of partition q; `write(row, atom)`.
template <class Rows, class Write>
void fold(const std::vector<LocalGraph>& parts, size_t p, int64_t width, Rows rows, Write write) {
  const LocalGraph& part = parts[p];
  double* own = rows(p);
  for (size_t group = 0; group < part.send_groups.partner.size(); ++group) {
    const auto q = static_cast<size_t>(part.send_groups.partner[group]);
    const LocalGraph& reader = parts[q];
    const auto there = static_cast<size_t>(reader.halo_groups.find(static_cast<int32_t>(p)));
    const double* from = rows(q) + width * (reader.n_owned() + reader.halo_groups.begin[there]);
    for (int32_t k = part.send_groups.begin[group]; k < part.send_groups.begin[group + 1]; ++k) {
      double* to = own + width * part.send[static_cast<size_t>(k)];
      for (int64_t x = 0; x < width; ++x) {
        to[x] += *from++;
      }
    }
  }
  for (size_t row = 0; row < part.owned.size(); ++row) {
    write(own + width * static_cast<int64_t>(row), part.owned[row]);
  }
}

/// matrix (3, 3): the symmetric part of a virial.
void write_symmetric(const double* virial, double* matrix) {
  for (int k = 0; k < 3; ++k) {
    for (int l = 0; l < 3; ++l) {
      matrix[3 * k + l] = 0.5 * (virial[4 * k + l] + virial[4 * l + k]);
    }
  }
}

}  // namespace

Forces Step::forces(const exchange::PerPartition& edge_gradients, bool with_virials) const {
  const auto& parts = decomposition_->parts;
  const auto n_parts = static_cast<int64_t>(parts.size());
  const int n_threads = at::get_num_threads();
  std::vector<LocalForces> local(parts.size());
  parallel_for(n_parts, n_threads, [&](int64_t item, int) {
    const auto p = static_cast<size_t>(item);
    local[p].forces.assign(static_cast<size_t>(force_width * parts[p].n_local()), 0.0);
    local[p].virials.assign(static_cast<size_t>(with_virials ? virial_width * parts[p].n_local() : 0), 0.0);
    if (!edge_gradients[p].defined()) {
      return;
    }
    if (device_parts_[p]) {
      return copy(device_parts_[p]->forces(parts_[p], edge_gradients[p], with_virials), local[p]);
    }
    const auto accumulate_all = dtype_ == at::kFloat ? accumulate<float> : accumulate<double>;
    accumulate_all(graphs_[p], parts[p].n_owned(), parts_[p], edge_gradients[p], local[p]);
  });

  const int64_t n_atoms = decomposition_->n_atoms;
  Forces total{at::empty({n_atoms, 3}, at::kDouble), at::zeros({3, 3}, at::kDouble), {}};
  if (with_virials) {
    total.virials = at::empty({n_atoms, 3, 3}, at::kDouble);
  }
  auto* forces = total.forces.mutable_data_ptr<double>();
  auto* virials = with_virials ? total.virials.mutable_data_ptr<double>() : nullptr;
  parallel_for(n_parts, n_threads, [&](int64_t item, int) {
    const auto p = static_cast<size_t>(item);
    fold(
        parts, p, force_width, [&](size_t q) { return local[q].forces.data(); },
        [&](const double* row, int64_t atom) { std::copy(row, row + 3, forces + 3 * atom); });
    if (with_virials) {
      fold(
          parts, p, virial_width, [&](size_t q) { return local[q].virials.data(); },
          [&](const double* row, int64_t atom) { write_symmetric(row, virials + 9 * atom); });
    }
  });
  std::array<double, virial_width> virial{};
  for (const auto& of_partition : local) {
    for (size_t k = 0; k < virial.size(); ++k) {
      virial[k] += of_partition.virial[k];
    }
  }
  write_symmetric(virial.data(), total.virial.mutable_data_ptr<double>());
  return total;
}

}  // namespace distmlip::executor
