#include "executor/device_parts.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <utility>

#include "core/thread_pool.h"
#include "kernels/edge_forces.h"

namespace distmlip::executor {
namespace {

constexpr int64_t force_width = kernels::EdgeForces::force_width,
                  virial_width = kernels::EdgeForces::virial_width;

}  // namespace

DeviceParts::DeviceParts(const partition::Decomposition& decomposition, at::Device device,
                         std::vector<int32_t> partitions, at::ScalarType dtype)
    : device_(device), partitions_(std::move(partitions)) {
  std::vector<int32_t> row_of_atom(decomposition.n_atoms, -1);
  const auto rows_of = [&](const partition::LocalCandidates& local) {
    std::vector<int32_t> rows;
    for (int64_t row = 0; row < local.n_local(); ++row) {
      const int32_t atom = local.global(row);
      if (row_of_atom[atom] < 0) {
        row_of_atom[atom] = static_cast<int32_t>(atoms_.size());
        atoms_.push_back(atom);
      }
      rows.push_back(row_of_atom[atom]);
    }
    return rows;
  };
  on_device(device_, [&](kernels::DeviceKernels& kernels) {
    system_ = std::make_unique<DeviceSystem>(kernels, decomposition, device_);
    for (const int32_t p : partitions_)
      parts_.emplace_back(kernels, decomposition, p, dtype, rows_of(decomposition.parts[p]));
  });
}

void DeviceParts::update(const partition::Snapshot& snapshot, std::vector<LocalTensors>& parts,
                         std::vector<partition::StepGraph>& graphs) {
  on_device(device_, [&](kernels::DeviceKernels& kernels) {
    system_->update(snapshot);
    for (size_t k = 0; k < parts_.size(); ++k) {
      const int32_t p = partitions_[k];
      parts[p] = {};
      parts[p] = parts_[k].update(kernels, *system_, graphs[p]);
    }
  });
}

/// On the host: forces (n, 4) of atoms_, the virial (3, 4), and virials (n, 3, 4) if they are wanted.
at::Tensor DeviceParts::sums(const std::vector<LocalTensors>& parts,
                             const exchange::PerPartition& edge_gradients, bool with_virials) const {
  const auto n = std::ssize(atoms_);
  at::Tensor host;
  on_device(device_, [&](kernels::DeviceKernels& kernels) {
    const int64_t size = force_width * n + virial_width + (with_virials ? virial_width * n : 0);
    const at::Tensor sums = at::zeros({size}, at::TensorOptions().device(device_).dtype(at::kDouble));
    double* forces = sums.mutable_data_ptr<double>();
    double* virial = forces + force_width * n;
    const kernels::EdgeForces out{forces, virial, with_virials ? virial + virial_width : nullptr};
    // One after another on one stream, and the rows of a partition are all different: so no two additions
    // meet, and their order is always the same.
    for (size_t k = 0; k < parts_.size(); ++k) {
      const int32_t p = partitions_[k];
      if (edge_gradients[p].defined()) parts_[k].add_forces(kernels, parts[p], edge_gradients[p], out);
    }
    host = to_host(sums);
    if (!device_.is_cpu()) default_stream(device_).synchronize();
  });
  return host;
}

void DeviceParts::add_forces(const std::vector<LocalTensors>& parts,
                             const exchange::PerPartition& edge_gradients, Forces& total) const {
  const bool with_virials = total.virials.defined();
  const at::Tensor host = sums(parts, edge_gradients, with_virials);
  const auto n = std::ssize(atoms_);
  const double* from = host.const_data_ptr<double>();
  const double* virial = from + force_width * n;
  auto* forces = total.forces.mutable_data_ptr<double>();
  auto* virials = with_virials ? total.virials.mutable_data_ptr<double>() : nullptr;
  constexpr int64_t at_once = 10000;
  parallel_for((n + at_once - 1) / at_once, at::get_num_threads(), [&](int64_t chunk, int) {
    for (int64_t k = chunk * at_once; k < std::min(n, (chunk + 1) * at_once); ++k) {
      const int64_t atom = atoms_[k];
      for (int x = 0; x < 3; ++x) forces[3 * atom + x] += from[force_width * k + x];
      if (virials) add_symmetric(virial + virial_width * (k + 1), virials + 9 * atom);
    }
  });
  add_symmetric(virial, total.virial.mutable_data_ptr<double>());
}

}  // namespace distmlip::executor
