// The algorithms for devices, by what they do. All pointers and arrays are memory of the device; what is
// returned by value is on the host.
#pragma once

#include <memory>

#include "kernels/bond_numbering.h"
#include "kernels/device/graph.h"
#include "kernels/device/step.h"
#include "kernels/edge_forces.h"

namespace distmlip::kernels {

/// Calls are put on the device's stream one after another; those that return a size wait for it.
/// Throw std::runtime_error if the device fails.
class DeviceKernels {
 public:
  virtual ~DeviceKernels() = default;

  // Atoms and bins.
  /// Moves atoms into the cell along periodic axes. positions: (n_atoms, 3).
  virtual WrappedAtoms wrap_atoms(const WrapRequest& request, const double* positions) = 0;
  /// Moves atoms that lie before the start of the cell to its end; positions: as given.
  virtual void lift_atoms(const WrapRequest& request, const double* positions, const LiftRequest& lift,
                          WrappedAtoms& atoms) = 0;
  /// For every layer, whether any atom lies in it.
  virtual std::vector<uint8_t> occupied_layers(int64_t n_atoms, const double* wrapped,
                                               const LayerRequest& request) = 0;
  /// Throws std::invalid_argument if there are more atoms and copies than can be numbered.
  virtual SortedAtoms sort_atoms(const Grid& grid, int64_t n_atoms, const double* wrapped) = 0;

  // Neighbours.
  /// A row for each of receivers[0 … n_rows): ordinals, ascending; null: all ordinals.
  virtual EdgeMasks find_neighbors(const SortedAtoms& sorted, const EdgeRule& rule, const int32_t* receivers,
                                   int64_t n_rows) = 0;
  /// Where the pairs of each atom begin if rows are those of all ordinals, (n_atoms + 1).
  virtual Array<int64_t> pairs_begin(const SortedAtoms& sorted, const EdgeMasks& found, bool self_interaction,
                                     int64_t* n_pairs) = 0;
  virtual void write_pairs(const SortedAtoms& sorted, const EdgeRule& rule, const EdgeMasks& found,
                           const int64_t* begin, bool self_interaction, const PairArrays<float>& out) = 0;
  virtual void write_pairs(const SortedAtoms& sorted, const EdgeRule& rule, const EdgeMasks& found,
                           const int64_t* begin, bool self_interaction, const PairArrays<double>& out) = 0;
  /// Throws std::invalid_argument if the partition has more edges than can be numbered.
  virtual LocalRows local_rows(const SortedAtoms& sorted, const EdgeRule& rule,
                               const LocalRequest& request) = 0;
  virtual SenderRows sort_by_sender(const LocalRows& rows) = 0;

  /// Those that can become bonds across the border: at most bond_limit long; by row.
  virtual Array<BorderCandidate> border_candidates(const FilterRequest& request) = 0;

  // Every step.
  virtual void gather_atoms(int64_t n_rows, const int32_t* atoms, const double* positions,
                            const int32_t* wrap, LocalAtom* rows) = 0;
  virtual StepEdges filter_edges(const FilterRequest& request) = 0;
  virtual void write_edges(const FilterRequest& request, const StepEdges& edges,
                           const EdgeOutput<float>& out) = 0;
  virtual void write_edges(const FilterRequest& request, const StepEdges& edges,
                           const EdgeOutput<double>& out) = 0;
  virtual BondSizes number_bonds(const BondRequest& request, const BondOutput& out) = 0;
  virtual void expand_angles(int64_t n_rows, const int64_t* short_begin, const int32_t* short_edge,
                             const int64_t* angle_begin, int64_t* angles) = 0;
  /// Forces and virials are added to what is there, in an order that does not change from run to run.
  virtual void sum_forces(const EdgeGradients<float>& edges, const SentEdges& sent,
                          const EdgeForces& out) = 0;
  virtual void sum_forces(const EdgeGradients<double>& edges, const SentEdges& sent,
                          const EdgeForces& out) = 0;

  // Rows that cross partitions.
  /// to[k] = from[rows[k]] for rows of `width` bytes.
  virtual void gather_rows(int64_t n_rows, int64_t width, const int64_t* rows, const void* from,
                           void* to) = 0;
  /// to[rows[k]] += from[k] for rows of `width` values, bfloat16 as uint16_t. No row may be named twice.
  virtual void add_rows(int64_t n_rows, int64_t width, const int64_t* rows, const float* from, float* to) = 0;
  virtual void add_rows(int64_t n_rows, int64_t width, const int64_t* rows, const double* from,
                        double* to) = 0;
  virtual void add_rows(int64_t n_rows, int64_t width, const int64_t* rows, const uint16_t* from,
                        uint16_t* to) = 0;

  // Memory. Copies between the host and the device return when they are done.
  virtual std::shared_ptr<void> allocate(size_t bytes) = 0;
  virtual void read(const void* from, size_t bytes, void* to) = 0;
  virtual void write(const void* from, size_t bytes, void* to) = 0;

  template <class T>
  Array<T> array(int64_t n) {
    return {allocate(static_cast<size_t>(n > 0 ? n : 1) * sizeof(T)), n};
  }
  /// A copy on the device.
  template <class T>
  Array<T> copy_of(const T* from, int64_t n) {
    Array<T> result = array<T>(n);
    if (n > 0) write(from, static_cast<size_t>(n) * sizeof(T), result.data());
    return result;
  }
  template <class Container>
  auto copy_of(const Container& from) {
    return copy_of(from.data(), static_cast<int64_t>(from.size()));
  }
  /// A copy on the host.
  template <class T>
  std::vector<T> copy_of(const Array<T>& from) {
    std::vector<T> result(static_cast<size_t>(from.size));
    if (from.size > 0) read(from.data(), result.size() * sizeof(T), result.data());
    return result;
  }
};

/// On the CPU, in the calling thread.
std::unique_ptr<DeviceKernels> host_kernels(const Device& device);

/// Whether this build has kernels that run on a CUDA device, which becomes the calling thread's current one.
bool has_cuda_kernels(int index);

/// On a CUDA device that has kernels.
std::unique_ptr<DeviceKernels> cuda_kernels(const Device& device);

}  // namespace distmlip::kernels
