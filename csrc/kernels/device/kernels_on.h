// DeviceKernels on a back end of parallel.h.
#pragma once

#include "kernels/device/border_candidates.h"
#include "kernels/device/copy_rows.h"
#include "kernels/device/filter_edges.h"
#include "kernels/device/local_rows.h"
#include "kernels/device/number_bonds.h"
#include "kernels/device/sent_edges.h"
#include "kernels/device/sum_forces.h"
#include "kernels/device/wrap_atoms.h"
#include "kernels/device/write_pairs.h"
#include "kernels/device_kernels.h"

namespace distmlip::kernels {

template <class Backend>
class KernelsOn final : public DeviceKernels {
 public:
  explicit KernelsOn(const Device& device) : device_(device), backend_(device_) {}

  WrappedAtoms wrap_atoms(const WrapRequest& request, const double* positions) override {
    return kernels::wrap_atoms(backend_, request, positions);
  }
  void lift_atoms(const WrapRequest& request, const double* positions, const LiftRequest& lift,
                  WrappedAtoms& atoms) override {
    kernels::lift_atoms(backend_, request, positions, lift, atoms);
  }
  std::vector<uint8_t> occupied_layers(int64_t n_atoms, const double* wrapped,
                                       const LayerRequest& request) override {
    return kernels::occupied_layers(backend_, n_atoms, wrapped, request);
  }
  SortedAtoms sort_atoms(const Grid& grid, int64_t n_atoms, const double* wrapped) override {
    return kernels::sort_atoms(backend_, grid, n_atoms, wrapped);
  }

  EdgeMasks find_neighbors(const SortedAtoms& sorted, const EdgeRule& rule, const int32_t* receivers,
                           int64_t n_rows) override {
    return kernels::find_neighbors(backend_, sorted, rule, receivers, n_rows);
  }
  Array<int64_t> pairs_begin(const SortedAtoms& sorted, const EdgeMasks& found, bool self_interaction,
                             int64_t* n_pairs) override {
    return kernels::pairs_begin(backend_, sorted, found, self_interaction, n_pairs);
  }
  void write_pairs(const SortedAtoms& sorted, const EdgeRule& rule, const EdgeMasks& found,
                   const int64_t* begin, bool self_interaction, const PairArrays<float>& out) override {
    kernels::write_pairs(backend_, sorted, rule, found, begin, self_interaction, out);
  }
  void write_pairs(const SortedAtoms& sorted, const EdgeRule& rule, const EdgeMasks& found,
                   const int64_t* begin, bool self_interaction, const PairArrays<double>& out) override {
    kernels::write_pairs(backend_, sorted, rule, found, begin, self_interaction, out);
  }
  LocalRows local_rows(const SortedAtoms& sorted, const EdgeRule& rule,
                       const LocalRequest& request) override {
    return kernels::local_rows(backend_, sorted, rule, request);
  }
  SenderRows sort_by_sender(const LocalRows& rows) override {
    return kernels::sort_by_sender(backend_, rows.sender.data(), rows.n_candidates(), rows.n_local());
  }

  void gather_atoms(int64_t n_rows, const int32_t* atoms, const double* positions, const int32_t* wrap,
                    LocalAtom* rows) override {
    kernels::gather_atoms(backend_, n_rows, atoms, positions, wrap, rows);
  }
  Array<BorderCandidate> border_candidates(const FilterRequest& request) override {
    return kernels::border_candidates(backend_, request);
  }
  StepEdges filter_edges(const FilterRequest& request) override {
    return kernels::filter_edges(backend_, request);
  }
  void write_edges(const FilterRequest& request, const StepEdges& edges,
                   const EdgeOutput<float>& out) override {
    kernels::write_edges(backend_, request, edges, out);
  }
  void write_edges(const FilterRequest& request, const StepEdges& edges,
                   const EdgeOutput<double>& out) override {
    kernels::write_edges(backend_, request, edges, out);
  }
  BondSizes number_bonds(const BondRequest& request, const BondOutput& out) override {
    return kernels::number_bonds(backend_, request, out);
  }
  void expand_angles(int64_t n_rows, const int64_t* short_begin, const int32_t* short_edge,
                     const int64_t* angle_begin, int64_t* angles) override {
    kernels::expand_angles(backend_, n_rows, short_begin, short_edge, angle_begin, angles);
  }
  void sum_forces(const EdgeGradients<float>& edges, const SentEdges& sent, const EdgeForces& out) override {
    kernels::sum_forces(backend_, edges, sent, out);
  }
  void sum_forces(const EdgeGradients<double>& edges, const SentEdges& sent, const EdgeForces& out) override {
    kernels::sum_forces(backend_, edges, sent, out);
  }

  void gather_rows(int64_t n_rows, int64_t width, const int64_t* rows, const void* from, void* to) override {
    kernels::gather_rows(backend_, n_rows, width, rows, from, to);
  }
  void add_rows(int64_t n_rows, int64_t width, const int64_t* rows, const float* from, float* to) override {
    kernels::add_rows(backend_, n_rows, width, rows, from, to);
  }
  void add_rows(int64_t n_rows, int64_t width, const int64_t* rows, const double* from, double* to) override {
    kernels::add_rows(backend_, n_rows, width, rows, from, to);
  }
  void add_rows(int64_t n_rows, int64_t width, const int64_t* rows, const uint16_t* from,
                uint16_t* to) override {
    kernels::add_rows(backend_, n_rows, width, rows, from, to);
  }

  std::shared_ptr<void> allocate(size_t bytes) override { return device_.allocate(bytes); }
  void read(const void* from, size_t bytes, void* to) override {
    backend_.read(static_cast<const char*>(from), static_cast<int64_t>(bytes), static_cast<char*>(to));
  }
  void write(const void* from, size_t bytes, void* to) override {
    backend_.write(static_cast<const char*>(from), static_cast<int64_t>(bytes), static_cast<char*>(to));
  }

 private:
  Device device_;
  Backend backend_;
};

}  // namespace distmlip::kernels
