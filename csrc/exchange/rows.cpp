#include "exchange/rows.h"

#include <ATen/ATen.h>

#include <numeric>

namespace distmlip::exchange {
namespace {

at::Tensor joined(const std::vector<at::Tensor>& tensors) {
  return tensors.size() == 1 ? tensors.front() : at::cat(tensors, 0);
}

int64_t sum(const std::vector<int64_t>& counts) {
  return std::accumulate(counts.begin(), counts.end(), int64_t{0});
}

/// Packed rows of the partitions of each pool.
std::vector<int64_t> n_packed(const Routes& routes) {
  std::vector<int64_t> counts(routes.peers.size(), 0);
  for (size_t p = 0; p < routes.n_partitions(); ++p) {
    counts[routes.pools[p]] += routes.packed[p].size(0);
  }
  return counts;
}

}  // namespace

PerPartition select(const PerPartition& rows, const PerPartition& x) {
  PerPartition selected;
  for (size_t p = 0; p < x.size(); ++p) {
    selected.push_back(x[p].index_select(0, rows[p]));
  }
  return selected;
}

std::vector<Parcel> pack(const Routes& routes, const PerPartition& packed) {
  std::vector<std::vector<at::Tensor>> of_pool(routes.peers.size());
  for (size_t p = 0; p < packed.size(); ++p) {
    of_pool[routes.pools[p]].push_back(packed[p]);
  }
  std::vector<Parcel> parcels;
  for (size_t pool = 0; pool < of_pool.size(); ++pool) {
    const auto& peers = routes.peers[pool];
    const at::Tensor rows = joined(of_pool[pool]);
    const at::Tensor sent = rows.index_select(0, peers.sent);
    parcels.push_back({rows, sent, sent.narrow(0, 0, 0), peers.send_counts, peers.receive_counts});
  }
  return parcels;
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
      rows = at::zeros(shape, read[q].options());
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
  for (size_t pool = 0; pool < parcels.size(); ++pool) {
    parcels[pool].stays.index_add_(0, routes.peers[pool].sent, parcels[pool].received);
  }
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
