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

/// result[p]: rows[p] (int64) of x[p].
PerPartition select(const PerPartition& rows, const PerPartition& x);

/// What each pool has for its peers. packed[p]: the rows routes.packed[p] of partition p.
std::vector<Parcel> pack(const Routes& routes, const PerPartition& packed);

/// When all is received: the rows of each pool, of which partition q reads routes.sources[q].
std::vector<at::Tensor> readable(const std::vector<Parcel>& parcels);

/// The adjoint of reading from pools: sums what each partition gives for the rows that it reads, and sends
/// those of peers back to them.
std::vector<Parcel> collect(const Routes& routes, const PerPartition& read);

/// When all is received, the adjoint of pack(): the sums of every partition's packed rows.
PerPartition unpack(const Routes& routes, std::vector<Parcel> parcels);

}  // namespace distmlip::exchange
