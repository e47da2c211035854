// Who sends what: matching lists on both sides of every border.
#pragma once

#include <cstdint>
#include <vector>

#include "partition/local_candidates.h"

namespace distmlip::partition {

class Snapshot;

/// Partitions [begin, end).
struct PartitionRange {
  int32_t begin = 0, end = 0;

  bool has(int32_t partition) const { return begin <= partition && partition < end; }
};

/// Fills the send lists of the partitions that are here from the halos of those that are here.
void fill_send_lists(int64_t n_atoms, PartitionRange here, std::vector<LocalCandidates>& parts);

/// Fills the list of cut candidates of a partition: those that can become shorter than the bond
/// cutoff while the decomposition is valid. `reference`: at the positions that the candidates were searched
/// at.
void fill_cut_candidates(const Snapshot& reference, int32_t partition, LocalCandidates& graph);

}  // namespace distmlip::partition
