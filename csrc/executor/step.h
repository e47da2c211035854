// The local graphs of one evaluation as tensors on the devices, and forces from the gradients of their edges.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <memory>
#include <vector>

#include "core/buffer.h"
#include "exchange/crossing.h"
#include "exchange/remote_rows.h"
#include "partition/decomposition.h"

namespace distmlip::executor {

class DeviceParts;

/// One partition's graph on its device (distmlip/models/local_graph.py, LocalGraph and BondGraph).
struct LocalTensors {
  at::Tensor senders, receivers;                              ///< (n_edges,) int64
  at::Tensor vectors;                                         ///< (n_edges, 3) in the model's dtype
  at::Tensor edge_bond, bond_edge, short_bonds, angles, cut;  ///< undefined without a bond cutoff

  template <class Change>
  void for_each(Change change) {
    for (at::Tensor* tensor :
         {&senders, &receivers, &vectors, &edge_bond, &bond_edge, &short_bonds, &angles, &cut})
      if (tensor->defined()) change(*tensor);
  }
};

struct Forces {
  at::Tensor forces;  ///< (n_atoms, 3) float64
  at::Tensor virial;  ///< (3, 3) float64, symmetric: -dE/dstrain
  at::Tensor
      virials;  ///< (n_atoms, 3, 3) float64, symmetric; their sum is the virial; undefined if not wanted
};

/// A decomposition at given positions. Each `update` replaces the tensors; those that somebody still holds
/// stay as they are, the memory of others is used again.
class Step {
 public:
  /// `devices`: one per partition. Where the candidates of a partition are on its device, its graphs are made
  /// there; else on the host, and moved.
  /// `others`: null if all partitions are in this process; else all devices are the same.
  Step(std::shared_ptr<const partition::Decomposition> decomposition, std::vector<at::Device> devices,
       at::ScalarType dtype, std::shared_ptr<const exchange::Others> others = nullptr);
  ~Step();

  /// `positions`: n_atoms x 3, for which the decomposition is still valid in this cell. Uses torch's number
  /// of intra-op threads.
  void update(const double* positions, const Cell& cell);

  const std::vector<LocalTensors>& parts() const { return parts_; }
  /// What crosses partitions now. `dtype`: of what partitions without atoms take part with.
  exchange::Crossing crossing(at::ScalarType dtype) const;

  /// (n_local) int64: which atom each local row is.
  const exchange::PerPartition& local_atoms() const { return local_atoms_; }

  /// Sizes of each partition.
  std::vector<int64_t> n_owned() const;
  std::vector<int64_t> n_edges() const;
  std::vector<int64_t> n_bonds() const;
  std::vector<int64_t> n_angles() const;
  std::vector<int64_t> n_cut() const;
  /// Atoms that other partitions read.
  std::vector<int64_t> n_read() const;

  /// From dE/dvector of every partition; undefined gradients are zero. What the partitions of this process
  /// give: the sum over processes is the total.
  Forces forces(const exchange::PerPartition& edge_gradients, bool with_virials);

  /// Where other processes have some of the atoms; null if none do.
  const exchange::RemoteAtoms* remote_atoms() const { return remote_atoms_.get(); }

 private:
  /// What the edges of a partition give to its local rows (kernels::EdgeForces).
  struct LocalForces {
    Buffer<double> forces, virials;
    std::array<double, 12> virial{};
  };

  bool on_host(size_t p) const { return !decomposition_->parts[p].on_device; }
  void make_device_parts();
  LocalTensors write(size_t p, const partition::Snapshot& snapshot, int n_threads);
  template <class Real>
  LocalTensors write_edges(size_t p, const partition::Snapshot& snapshot, int n_threads);
  void write_bonds(size_t p, const int64_t* senders, LocalTensors& tensors);
  void add_host_forces(const exchange::PerPartition& edge_gradients, Forces& total);
  void accumulate(size_t p, const at::Tensor& gradients, bool with_virials);
  template <class Size>
  std::vector<int64_t> sizes(Size size) const;

  std::shared_ptr<const partition::Decomposition> decomposition_;
  std::shared_ptr<const exchange::Others> others_;
  std::vector<at::Device> devices_;
  at::ScalarType dtype_;
  std::vector<partition::StepGraph> graphs_;
  std::vector<LocalTensors> kept_;  // memory on the host that they are written to
  std::vector<LocalTensors> parts_;
  std::vector<LocalTensors>
      host_parts_;  // of partitions whose graphs are made on the host: before they are moved
  std::vector<LocalForces> local_forces_;  // of partitions whose graphs are made on the host
  exchange::PerPartition local_atoms_;
  std::unique_ptr<const exchange::RemoteAtoms> remote_atoms_;
  exchange::Routes atoms_, bonds_;
  std::vector<DeviceParts> devices_with_parts_;
};

/// Adds the symmetric part of a virial, in rows of four, to a matrix (3, 3).
void add_symmetric(const double* virial, double* matrix);

}  // namespace distmlip::executor
