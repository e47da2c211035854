// Who reads which rows of whom, as tensors.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "partition/decomposition.h"

namespace distmlip::exchange {

struct Others;
class RemoteAtoms;

/// One tensor per partition, each on the device of its partition.
using PerPartition = std::vector<at::Tensor>;

/// Of rows of one kind: those of atoms are made with the graph, those of cut bonds at every step.
///
/// Every partition *packs* the rows that others read, each once. Partitions on one device share a *pool*: the
/// packed rows of all of them, one after another, then what the pool receives from its *peers*: the other
/// pools of this process; or, in a run of several processes with one pool each, the other ranks.
struct Routes {
  struct Peers {
    at::Tensor sent;                                   // int64: packed rows of the pool, by who reads them
    std::vector<int64_t> send_counts, receive_counts;  // rows, of each peer; none of itself
  };

  PerPartition packed;         // int64: the rows of each partition that others read
  PerPartition sources;        // int64: the rows that each partition reads, as rows of its pool
  std::vector<int64_t> pools;  // the pool of each partition
  std::vector<Peers> peers;    // of each pool

  size_t n_partitions() const { return sources.size(); }
  /// How many rows partition q receives; all partitions together.
  int64_t received(size_t q) const { return sources[q].size(0); }
  int64_t received() const;
};

/// Throws c10::ValueError if the members do not fit together.
void check(const Routes& routes);

/// The routes of atom rows: each partition reads its halo. `others` and `remote`: null if all partitions are
/// in this process.
Routes atom_routes(const partition::Decomposition& decomposition, const std::vector<at::Device>& devices,
                   const Others* others, const RemoteAtoms* remote);

/// The routes of cut bonds, of which each partition reads its copy: cut[p] are the rows of partition p that
/// have one. No rank needs to ask another one: both list the bonds across their border in the same order.
Routes bond_routes(const std::vector<partition::StepGraph>& graphs, PerPartition cut, const Others* others);

}  // namespace distmlip::exchange
