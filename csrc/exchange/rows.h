// Moves rows between partitions in three steps, forward and adjoint: pack what others read, send it, place
// what came. Knows nothing of what the rows mean.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "exchange/routes.h"

namespace distmlip::exchange {

/// One pool's part in one exchange.
struct Parcel {
  at::Tensor stays;                                  // (n_packed, ...) the pool's own rows
  at::Tensor sent, received;                         // (n, ...) to and from its peers, by peer
  std::vector<int64_t> send_counts, receive_counts;  // rows, of each peer
};

/// What each pool has for its peers. x[p]: the rows of partition p, of which routes.packed[p] are read.
std::vector<Parcel> pack(const Routes& routes, const PerPartition& x);

/// The same if x has nothing but the packed rows.
std::vector<Parcel> pack_all(const Routes& routes, const PerPartition& x);

/// When all is received: the rows of each pool, of which partition q reads routes.sources[q].
std::vector<at::Tensor> readable(const std::vector<Parcel>& parcels);

/// The adjoint of reading from pools: sums what each partition gives for the rows that it reads, and sends
/// those of peers back to them.
std::vector<Parcel> collect(const Routes& routes, const PerPartition& read);

/// When all is received, the adjoint of pack(): the sums of every partition's packed rows.
PerPartition unpack(const Routes& routes, std::vector<Parcel> parcels);

}  // namespace distmlip::exchange
