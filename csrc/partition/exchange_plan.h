// Who sends what: matching lists on both sides of every border.
#pragma once

#include <cstdint>
#include <vector>

#include "partition/local_graph.h"

namespace distmlip::partition {

struct Decomposition;

/// send[p * P + q]: local owned rows of p that q's halo group of p reads, in the order of q's halo.
std::vector<std::vector<int32_t>> plan_sends(const std::vector<LocalGraph>& parts, int64_t n_atoms);

/// Fills the bond fields of a partition's local graph. Uses the reference positions: a candidate is kept if
/// it can become shorter than the bond cutoff while the decomposition is valid.
void plan_bonds(const Decomposition& decomposition, const double* wrapped, int32_t partition,
                LocalGraph& graph);

}  // namespace distmlip::partition
