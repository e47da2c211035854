// One partition's rows and candidate edges.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "core/buffer.h"
#include "kernels/device/graph.h"
#include "neighbors/neighbor_search.h"
#include "partition/row_groups.h"

namespace distmlip::partition {

/// Local rows are [0, n_owned) owned atoms, [n_owned, n_local) halo atoms grouped by owner partition.
///
/// Edges are candidates: every pair within cutoff + skin of each other at the reference positions, and those
/// that are a rounding error further apart. Halo atoms are unique atoms, not images: an edge carries
/// the integer shift of its sender.
struct LocalCandidates {
  std::vector<int32_t> owned;   // (n_owned) global index
  std::vector<int32_t> halo;    // (n_halo) global index
  RowGroups halo_groups;        // of halo, by owner
  std::vector<int32_t> send;    // (n_sent) owned rows that others read
  RowGroups send_groups;        // of send, by reader: a group here is in the order of the group there
  Buffer<int64_t> row_begin;    // (n_owned + 1) candidates of each receiver
  Buffer<int32_t> sender;       // (n_candidates) local row
  Buffer<uint16_t> shift_code;  // (n_candidates) row of Decomposition::shifts
  /// Instead of these three, if the candidates are in the memory of a device; else null.
  std::shared_ptr<const kernels::LocalRows> on_device;

  // With a bond cutoff:
  struct CutCandidate {
    int32_t row, candidate;
  };
  std::vector<CutCandidate> cut_candidate;  // those that may become short bonds and whose sender is halo,
  RowGroups cut_groups;                     // by its owner: the k-th here is the reverse of the k-th there

  int64_t n_owned() const { return static_cast<int64_t>(owned.size()); }
  int64_t n_halo() const { return static_cast<int64_t>(halo.size()); }
  int64_t n_local() const { return n_owned() + n_halo(); }
  /// (n_local) global index
  std::vector<int32_t> atoms() const {
    std::vector<int32_t> all(owned);
    all.insert(all.end(), halo.begin(), halo.end());
    return all;
  }
  int32_t global(int64_t row) const { return row < n_owned() ? owned[row] : halo[row - n_owned()]; }
};

/// What the graphs of all partitions are built from.
struct GraphInput {
  const neighbors::Bins& bins;
  const neighbors::EdgeRule& rule;
  const Buffer<int32_t>& owner;  // (n_atoms) by ordinal
};

/// Those of the partition that owns ordinals[0 … n_ordinals), ascending, on up to n_threads threads.
/// local_row: (n_atoms) scratch, all -1 before and after.
LocalCandidates build_candidates(const GraphInput& input, const int32_t* ordinals, int64_t n_ordinals,
                                 Buffer<int32_t>& local_row, int n_threads);

}  // namespace distmlip::partition
