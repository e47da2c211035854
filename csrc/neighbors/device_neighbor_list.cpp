#include "neighbors/device_neighbor_list.h"

namespace distmlip::neighbors {
namespace {

/// A search needs some reach, also for a cutoff of zero, which no pair is below.
double radius_for(double cutoff) { return cutoff > 0 ? cutoff : 1.0; }

}  // namespace

DeviceNeighborList::DeviceNeighborList(kernels::DeviceKernels& kernels, const double* positions,
                                       int64_t n_atoms, const Cell& cell, double cutoff,
                                       bool self_interaction)
    : kernels_(kernels),
      with_self_(self_interaction && cutoff > 0),
      atoms_(sort_on_device(kernels, cell, positions, n_atoms, radius_for(cutoff))),
      rule_{positions, atoms_.wrapped.counts.data(), kernels::squared_limit(cutoff)},
      found_(kernels.find_neighbors(atoms_.sorted, rule_, nullptr, n_atoms)),
      begin_(kernels.pairs_begin(atoms_.sorted, found_, with_self_, &n_pairs_)) {}

}  // namespace distmlip::neighbors
