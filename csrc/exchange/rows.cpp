#include "exchange/rows.h"

#include <ATen/ATen.h>

#include <numeric>

#include "exchange/host_tensors.h"

namespace distmlip::exchange {
namespace {

int64_t sum(const std::vector<int64_t>& counts) {
  return std::accumulate(counts.begin(), counts.end(), int64_t{0});
}

/// Packed rows of the partitions of each pool.
std::vector<int64_t> n_packed(const Routes& routes) {
  std::vector<int64_t> counts(routes.peers.size(), 0);
  for (size_t p = 0; p < routes.n_partitions(); ++p) counts[routes.pools[p]] += routes.packed[p].size(0);
  return counts;
}

std::vector<Parcel> parcels_of(const Routes& routes, const std::vector<at::Tensor>& rows) {
  std::vector<Parcel> parcels;
  for (size_t pool = 0; pool < rows.size(); ++pool) {
    const auto& peers = routes.peers[pool];
    const at::Tensor sent = rows[pool].index_select(0, peers.sent);
    parcels.push_back({rows[pool], sent, sent.narrow(0, 0, 0), peers.send_counts, peers.receive_counts});
  }
  return parcels;
}

}  // namespace

std::vector<Parcel> pack(const Routes& routes, const PerPartition& x) {
  const auto n_own = n_packed(routes);
  std::vector<at::Tensor> rows(n_own.size());
  std::vector<int64_t> begin(n_own.size(), 0);
  for (size_t p = 0; p < x.size(); ++p) {
    const auto pool = routes.pools[p];
    if (!rows[pool].defined()) {
      auto shape = x[p].sizes().vec();
      shape[0] = n_own[pool];
      rows[pool] = empty(shape, x[p].options());
    }
    at::Tensor own = rows[pool].narrow(0, begin[pool], routes.packed[p].size(0));
    at::index_select_out(own, x[p], 0, routes.packed[p]);
    begin[pool] += own.size(0);
  }
  return parcels_of(routes, rows);
}

std::vector<Parcel> pack_all(const Routes& routes, const PerPartition& x) {
  std::vector<std::vector<at::Tensor>> of_pool(routes.peers.size());
  for (size_t p = 0; p < x.size(); ++p) of_pool[routes.pools[p]].push_back(x[p]);
  std::vector<at::Tensor> rows;
  for (const auto& tensors : of_pool)
    rows.push_back(tensors.size() == 1 ? tensors.front() : at::cat(tensors, 0));
  return parcels_of(routes, rows);
}

std::vector<at::Tensor> readable(const std::vector<Parcel>& parcels) {
  std::vector<at::Tensor> pools;
  for (const Parcel& parcel : parcels) {
    const bool is_all = parcel.received.size(0) == 0;
    pools.push_back(is_all ? parcel.stays : at::cat({parcel.stays, parcel.received}, 0));
  }
  return pools;
}

std::vector<Parcel> collect(const Routes& routes, const PerPartition& read) {
  const auto n_own = n_packed(routes);
  std::vector<at::Tensor> sums(n_own.size());
  for (size_t q = 0; q < read.size(); ++q) {
    const auto pool = routes.pools[q];
    at::Tensor& rows = sums[pool];
    if (!rows.defined()) {
      auto shape = read[q].sizes().vec();
      shape[0] = n_own[pool] + sum(routes.peers[pool].receive_counts);
      rows = empty(shape, read[q].options()).zero_();
    }
    rows.index_add_(0, routes.sources[q], read[q]);
  }
  std::vector<Parcel> parcels;
  for (size_t pool = 0; pool < sums.size(); ++pool) {
    const auto& peers = routes.peers[pool];
    const at::Tensor back = sums[pool].narrow(0, n_own[pool], sum(peers.receive_counts));
    parcels.push_back({sums[pool].narrow(0, 0, n_own[pool]), back, back.narrow(0, 0, 0), peers.receive_counts,
                       peers.send_counts});
  }
  return parcels;
}

PerPartition unpack(const Routes& routes, std::vector<Parcel> parcels) {
  for (size_t pool = 0; pool < parcels.size(); ++pool)
    parcels[pool].stays.index_add_(0, routes.peers[pool].sent, parcels[pool].received);
  std::vector<int64_t> begin(parcels.size(), 0);
  PerPartition unpacked;
  for (size_t p = 0; p < routes.n_partitions(); ++p) {
    const auto pool = routes.pools[p];
    unpacked.push_back(parcels[pool].stays.narrow(0, begin[pool], routes.packed[p].size(0)));
    begin[pool] += routes.packed[p].size(0);
  }
  return unpacked;
}

}  // namespace distmlip::exchange
