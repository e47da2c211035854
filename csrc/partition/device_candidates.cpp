#include "partition/device_candidates.h"

#include "partition/decomposition.h"

namespace distmlip::partition {

DeviceCandidates build_on_device(kernels::DeviceKernels& kernels, const Cell& cell, const double* positions,
                                 int64_t n_atoms, double radius, const kernels::LocalRequest& request) {
  DeviceCandidates graph;
  graph.atoms = neighbors::sort_on_device(kernels, cell, positions, n_atoms, radius);
  const kernels::EdgeRule rule{positions, graph.atoms.wrapped.counts.data(),
                               squared_limit_of_candidates(radius, graph.atoms.farthest)};
  graph.rows = kernels.local_rows(graph.atoms.sorted, rule, request);
  return graph;
}

}  // namespace distmlip::partition
