// A system cut into partitions: everything that stays the same until the neighbour list is rebuilt.
//
// decompose() is called when still_valid() says no; write_edges() at every step, for every partition.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "core/buffer.h"
#include "core/cell.h"
#include "cut/cut.h"
#include "kernels/device_kernels.h"
#include "partition/local_candidates.h"
#include "partition/reuse.h"
#include "partition/send_lists.h"
#include "partition/shared_atoms.h"
#include "partition/step_graph.h"

namespace distmlip::partition {

/// What is asked of a decomposition, and stays known of it.
struct Terms {
  int64_t n_atoms = 0;
  Cell cell;
  double cutoff = 0;       // Å, > 0
  double bond_cutoff = 0;  // Å, <= cutoff; 0: no bonds
  double skin = 0;         // Å, >= 0
  int32_t n_partitions = 1;
  PartitionRange here;  // of this process: others own nothing here; in a request empty for all
  cut::Method method = cut::Method::automatic;  // of a decomposition the one that was used
  std::shared_ptr<const SharedAtoms> shared;    // null: this process knows the whole system
};

/// Partitions whose candidates are made, and stay, on a device.
struct DeviceShare {
  std::vector<int32_t> partitions;  // those that are not `here` do not count
  /// Calls `work` with the device's kernels, when device and stream are the calling thread's.
  std::function<void(const std::function<void(kernels::DeviceKernels&)>& work)> run;
};

struct Request : Terms {
  const double* positions = nullptr;  // (n_atoms, 3) Å, anywhere
  const double* weights = nullptr;    // (n_atoms) relative work per atom, >= 0; null: estimated
  int n_threads = 0;                  // 0: all that are available
  std::vector<DeviceShare> devices;   // partitions of none of them are made on the host
};

struct Decomposition : Terms {
  Buffer<double> reference;  // (n_atoms, 3) positions that the candidates were searched at

  std::vector<int32_t> wraps;          // (n_wraps, 3) the different numbers of cells that atoms lie outside
  Buffer<int32_t> wrap_index;          // (n_atoms) row of wraps: wrapped = position − wrap · cell
  std::vector<int32_t> shifts;         // (n_codes, 3); the code of −shift is n_codes − 1 − code
  Buffer<int32_t> owner;               // (n_atoms)
  std::vector<LocalCandidates> parts;  // (n_partitions)

  bool has_bonds() const { return bond_cutoff > 0; }
  int64_t n_codes() const { return static_cast<int64_t>(shifts.size()) / 3; }
};

/// Candidates are shorter, Å^2. A little more than necessary, for the rounding of distances and
/// displacements: what is too long is dropped at every step. radius: cutoff and skin; farthest: largest
/// coordinate; Å.
double squared_limit_of_candidates(double radius, double farthest);

/// Who shall own the atoms of a request, by atom.
cut::Cut cut_atoms(const Request& request);

/// Cuts the system, unless its atoms have owners, and builds the candidates and send lists of every
/// partition, in parallel. A system without atoms gives empty partitions. Throws std::invalid_argument if the
/// request makes no sense or is too large to be numbered.
Decomposition decompose(const Request& request);

}  // namespace distmlip::partition
