// Who sends what: matching lists on both sides of every border.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/edge_filter.h"
#include "partition/local_candidates.h"

namespace distmlip::partition {

struct Decomposition;
class Snapshot;

/// Partitions [begin, end).
struct PartitionRange {
  int32_t begin = 0, end = 0;

  bool has(int32_t partition) const { return begin <= partition && partition < end; }
};

/// Fills the send lists of the partitions that are here from the halos of those that are here.
void fill_send_lists(int64_t n_atoms, PartitionRange here, std::vector<LocalCandidates>& parts);

/// How long candidates are at most, Å, that can become shorter than the bond cutoff while the decomposition
/// is valid: a little more than necessary, as what is too long is filtered at every step.
double reach_of_bonds(const Decomposition& decomposition);

/// The candidates of a partition that can become bonds across its border. `reference`: at the positions that
/// the candidates were searched at.
std::vector<kernels::BorderCandidate> border_candidates(const Snapshot& reference,
                                                        const LocalCandidates& graph);

/// Fills the list of cut candidates of a partition, in the order of the partition on the other side.
void fill_cut_candidates(const Decomposition& decomposition, int32_t partition,
                         const std::vector<kernels::BorderCandidate>& candidates, LocalCandidates& graph);

}  // namespace distmlip::partition
