#include "exchange/messages.h"

#include <ATen/ATen.h>

#include <numeric>

#include "exchange/device_copies.h"

namespace distmlip::exchange {
namespace {

using Exchanged = std::vector<std::vector<Parcel>>;

int64_t sum(const std::vector<int64_t>& counts, size_t end) {
  return std::accumulate(counts.begin(), counts.begin() + static_cast<std::ptrdiff_t>(end), int64_t{0});
}

int64_t bytes_per_row(const Parcel& parcel) {
  const auto sizes = parcel.sent.sizes().slice(1);
  return std::accumulate(sizes.begin(), sizes.end(), parcel.sent.element_size(), std::multiplies<>());
}

/// What a pool has for a peer, of one exchange after another, in bytes.
at::Tensor message(const Exchanged& exchanges, size_t pool, size_t peer) {
  std::vector<at::Tensor> pieces;
  for (const auto& parcels : exchanges) {
    const Parcel& parcel = parcels[pool];
    const at::Tensor rows = parcel.sent.narrow(0, sum(parcel.send_counts, peer), parcel.send_counts[peer]);
    pieces.push_back(rows.reshape({-1}).view(at::kByte));
  }
  return pieces.size() == 1 ? pieces.front() : at::cat(pieces, 0);
}

/// How many bytes the message of a peer has.
int64_t size_from(const Exchanged& exchanges, size_t pool, size_t peer) {
  int64_t size = 0;
  for (const auto& parcels : exchanges)
    size += bytes_per_row(parcels[pool]) * parcels[pool].receive_counts[peer];
  return size;
}

/// Hands out to the exchanges what a pool received, messages[peer] from each peer.
void open(Exchanged& exchanges, size_t pool, const std::vector<at::Tensor>& messages) {
  std::vector<int64_t> begin(messages.size(), 0);
  for (auto& parcels : exchanges) {
    Parcel& parcel = parcels[pool];
    std::vector<at::Tensor> pieces;
    for (size_t peer = 0; peer < messages.size(); ++peer) {
      const int64_t size = bytes_per_row(parcel) * parcel.receive_counts[peer];
      pieces.push_back(messages[peer].narrow(0, begin[peer], size));
      begin[peer] += size;
    }
    auto shape = parcel.sent.sizes().vec();
    shape[0] = sum(parcel.receive_counts, messages.size());
    parcel.received = at::cat(pieces, 0).view(parcel.sent.scalar_type()).reshape(shape);
  }
}

void send_to_ranks(Exchanged& exchanges, RankGroup& ranks) {
  const auto dtype = exchanges.front().front().sent.scalar_type();
  for (const auto& parcels : exchanges) {
    TORCH_CHECK_TYPE(
        parcels.front().sent.scalar_type() == dtype, "tensors that cross ranks before the same stage are ",
        parcels.front().sent.scalar_type(), " and ", dtype, "; give them the dtype of the model");
  }
  std::vector<at::Tensor> messages;
  std::vector<int64_t> send_counts, receive_counts;
  for (int rank = 0; rank < ranks.size(); ++rank) {
    messages.push_back(message(exchanges, 0, rank));
    send_counts.push_back(messages.back().size(0));
    receive_counts.push_back(size_from(exchanges, 0, rank));
  }
  const at::Tensor received = ranks.all_to_all(at::cat(messages, 0), send_counts, receive_counts);
  open(exchanges, 0, received.split_with_sizes(receive_counts, 0));
}

/// All pools first pack, then copy, then open: devices need not wait for each other in between.
void send_to_pools(Exchanged& exchanges) {
  const size_t n_pools = exchanges.front().size();
  std::vector<std::vector<at::Tensor>> messages(n_pools);  // [reader][pool]
  for (size_t reader = 0; reader < n_pools; ++reader)
    for (size_t pool = 0; pool < n_pools; ++pool)
      messages[reader].push_back(message(exchanges, pool, reader));
  std::vector<at::Device> devices;
  for (const Parcel& parcel : exchanges.front()) devices.push_back(parcel.sent.device());
  copy_all(messages, devices);
  for (size_t reader = 0; reader < n_pools; ++reader) open(exchanges, reader, messages[reader]);
}

}  // namespace

void send(Exchanged& exchanges, RankGroup* ranks) {
  if (exchanges.empty()) return;
  if (ranks != nullptr)
    send_to_ranks(exchanges, *ranks);
  else if (exchanges.front().size() > 1)
    send_to_pools(exchanges);
}

}  // namespace distmlip::exchange
