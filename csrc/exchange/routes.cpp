#include "exchange/routes.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <optional>
#include <utility>

#include "exchange/remote_rows.h"

namespace distmlip::exchange {
namespace {

/// The rows that one partition reads, by their owners: numbers of rows that the owner packs; if that is in
/// another process, of the rows that are received.
struct Reads {
  const partition::RowGroups& groups;
  std::vector<int64_t> rows;
};

/// Numbers the rows of pools: one pool per device.
class Numbering {
 public:
  Numbering(PerPartition packed, const std::vector<Reads>& reads, const Others* others)
      : reads_(reads), others_(others) {
    std::vector<at::Device> devices;
    for (const at::Tensor& rows : packed) {
      const auto found = std::find(devices.begin(), devices.end(), rows.device());
      routes_.pools.push_back(found - devices.begin());
      if (found == devices.end()) {
        devices.push_back(rows.device());
        n_packed_.push_back(0);
      }
      first_row_.push_back(n_packed_[routes_.pools.back()]);
      n_packed_[routes_.pools.back()] += rows.size(0);
    }
    routes_.packed = std::move(packed);
    n_rows_ = n_packed_;
    routes_.peers.resize(devices.size());
  }

  /// Where a partition's packed rows begin in its pool.
  int64_t first_row(int32_t p) const { return first_row_[p]; }

  Routes run() && {
    std::vector<std::vector<int64_t>> sources, of_pool(n_pools());
    for (const Reads& of_partition : reads_) sources.emplace_back(of_partition.rows.size());
    for (size_t pool = 0; pool < n_pools(); ++pool) {
      std::vector<int64_t>& sent = of_pool[pool];
      for (size_t reader = 0; reader < n_pools(); ++reader) {
        const size_t before = sent.size();
        number(pool, reader, sources, sent);
        const auto count = static_cast<int64_t>(sent.size() - before);
        routes_.peers[pool].send_counts.push_back(count);
        routes_.peers[reader].receive_counts.push_back(count);
      }
    }
    upload(of_pool, sources);
    return std::move(routes_);
  }

 private:
  size_t n_pools() const { return n_packed_.size(); }

  /// Makes tensors of what pools send and of what partitions read, in one copy for each pool.
  void upload(const std::vector<std::vector<int64_t>>& sent,
              const std::vector<std::vector<int64_t>>& sources) {
    routes_.sources.resize(sources.size());
    for (size_t pool = 0; pool < n_pools(); ++pool) {
      std::vector<int64_t> all = sent[pool];
      std::vector<int64_t> sizes{std::ssize(all)};
      std::vector<at::Tensor*> tensors{&routes_.peers[pool].sent};
      at::Device device(at::kCPU);
      for (size_t q = 0; q < sources.size(); ++q) {
        if (routes_.pools[q] != static_cast<int64_t>(pool)) continue;
        all.insert(all.end(), sources[q].begin(), sources[q].end());
        sizes.push_back(std::ssize(sources[q]));
        tensors.push_back(&routes_.sources[q]);
        device = routes_.packed[q].device();
      }
      const auto parts = index_tensor(all, device).split_with_sizes(sizes);
      for (size_t k = 0; k < tensors.size(); ++k) *tensors[k] = parts[k];
    }
  }

  /// Fills in what partitions of the pool `reader` read of `pool`. Appends what has to be sent there: every
  /// row once.
  void number(size_t pool, size_t reader, std::vector<std::vector<int64_t>>& sources,
              std::vector<int64_t>& sent) {
    std::vector<int64_t> place(pool == reader ? 0 : n_packed_[pool], -1);
    for (size_t q = 0; q < sources.size(); ++q) {
      if (routes_.pools[q] != static_cast<int64_t>(reader)) continue;
      reads_[q].groups.for_each([&](int32_t owner, int32_t k) {
        if (routes_.pools[owner] != static_cast<int64_t>(pool)) return;
        const bool is_remote = others_ != nullptr && others_->has(owner);
        const int64_t row = (is_remote ? n_packed_[pool] : first_row_[owner]) + reads_[q].rows[k];
        if (pool != reader && place[row] < 0) {
          place[row] = n_rows_[reader]++;
          sent.push_back(row);
        }
        sources[q][k] = pool == reader ? row : place[row];
      });
    }
  }

  const std::vector<Reads>& reads_;
  const Others* others_;
  Routes routes_;
  std::vector<int64_t> first_row_;          // of each partition, in its pool
  std::vector<int64_t> n_packed_, n_rows_;  // of each pool
};

/// `ranks`: makes the peers of the pool, which is the only one then, unless they are pools of this process.
Routes routes_of(PerPartition packed, const std::vector<Reads>& reads, const Others* others,
                 const std::function<Routes::Peers(const FirstRow&)>& ranks) {
  Numbering numbering(std::move(packed), reads, others);
  if (others == nullptr) return std::move(numbering).run();
  Routes::Peers peers = ranks([&](int32_t p) { return numbering.first_row(p); });
  Routes routes = std::move(numbering).run();
  routes.peers = {std::move(peers)};
  return routes;
}

}  // namespace

int64_t Routes::received() const {
  int64_t total = 0;
  for (size_t q = 0; q < n_partitions(); ++q) total += received(q);
  return total;
}

void check(const Routes& routes) {
  const size_t n = routes.n_partitions(), n_pools = routes.peers.size();
  const auto require_rows = [](const at::Tensor& rows, const char* what, size_t of) {
    TORCH_CHECK_VALUE(rows.dim() == 1 && rows.scalar_type() == at::kLong, what, " ", of,
                      " must be a 1-D int64 tensor, got ", rows.dim(), "-D ", rows.scalar_type());
  };
  TORCH_CHECK_VALUE(routes.packed.size() == n, "packed has ", routes.packed.size(), " entries for ", n,
                    " partitions");
  TORCH_CHECK_VALUE(routes.pools.size() == n, "pools has ", routes.pools.size(), " entries for ", n,
                    " partitions");
  std::vector<const at::Tensor*> first(n_pools, nullptr);
  for (size_t p = 0; p < n; ++p) {
    require_rows(routes.packed[p], "packed rows of partition", p);
    require_rows(routes.sources[p], "sources of partition", p);
    const int64_t pool = routes.pools[p];
    TORCH_CHECK_VALUE(pool >= 0, "pools[", p, "] is ", pool, "; pools are numbered from 0");
    TORCH_CHECK_VALUE(pool < static_cast<int64_t>(n_pools), "peers has ", n_pools, " entries, but ", pool + 1,
                      " pools need ", pool + 1);
    const at::Tensor*& other = first[pool];
    other = other == nullptr ? &routes.sources[p] : other;
    for (const at::Tensor* rows : {&routes.packed[p], &routes.sources[p]}) {
      TORCH_CHECK_VALUE(other->device() == rows->device(), "partition ", p, " is on ", rows->device(),
                        ", another one of its pool on ", other->device());
    }
  }
  TORCH_CHECK_VALUE(std::count(first.begin(), first.end(), nullptr) == 0,
                    "pools has gaps; pools are numbered from 0");
  for (size_t pool = 0; pool < n_pools; ++pool) {
    const auto& [sent, send_counts, receive_counts] = routes.peers[pool];
    require_rows(sent, "sent rows of pool", pool);
    const int64_t n_sent = std::accumulate(send_counts.begin(), send_counts.end(), int64_t{0});
    TORCH_CHECK_VALUE(sent.size(0) == n_sent && send_counts.size() == n_pools, "pool ", pool, " sends ",
                      sent.size(0), " rows, but ", n_sent, " to ", send_counts.size(), " of ", n_pools,
                      " pools");
  }
}

Routes atom_routes(const partition::Decomposition& decomposition, const std::vector<at::Device>& devices,
                   const Others* others, const RemoteAtoms* remote) {
  const auto& parts = decomposition.parts;
  std::vector<int64_t> packed_row(decomposition.n_atoms, -1);  // of each atom; 0 until it is numbered
  for (const auto& part : parts)
    for (const int32_t atom : part.halo) packed_row[atom] = 0;
  for (const int64_t atom : remote != nullptr ? remote->asked() : std::vector<int64_t>{})
    packed_row[atom] = 0;
  PerPartition packed;
  for (size_t p = 0; p < parts.size(); ++p) {
    std::vector<int64_t> rows;
    for (int64_t row = 0; row < parts[p].n_owned(); ++row) {
      int64_t& number = packed_row[parts[p].owned[row]];
      if (number == 0) {
        number = static_cast<int64_t>(rows.size());
        rows.push_back(row);
      }
    }
    packed.push_back(index_tensor(rows, devices[p]));
  }
  std::vector<Reads> reads;
  for (const auto& part : parts) {
    std::vector<int64_t> rows;
    part.halo_groups.for_each([&](int32_t owner, int32_t k) {
      const int32_t atom = part.halo[k];
      rows.push_back(remote != nullptr && others->has(owner) ? remote->row(atom) : packed_row[atom]);
    });
    reads.push_back({part.halo_groups, std::move(rows)});
  }
  return routes_of(std::move(packed), reads, others, [&](const FirstRow& first_row) {
    return remote->peers(devices.front(), [&](int64_t atom) {
      return first_row(decomposition.owner[atom]) + packed_row[atom];
    });
  });
}

Routes bond_routes(const std::vector<partition::StepGraph>& graphs, PerPartition cut, const Others* others) {
  std::optional<RemoteBonds> remote;
  if (others != nullptr) remote.emplace(graphs, *others);
  std::vector<Reads> reads;
  for (size_t q = 0; q < graphs.size(); ++q) {
    const auto reader = static_cast<int32_t>(q);
    std::vector<int64_t> rows;
    graphs[q].cut_groups.for_each_group([&](int32_t partner, int32_t begin, int32_t end) {
      const auto& there = graphs[partner].cut_groups;
      int64_t row =
          remote && others->has(partner) ? remote->first(partner, reader) : there.begin[there.find(reader)];
      for (int32_t k = begin; k < end; ++k) rows.push_back(row++);
    });
    reads.push_back({graphs[q].cut_groups, std::move(rows)});
  }
  const at::Device device = cut.front().device();
  return routes_of(std::move(cut), reads, others,
                   [&](const FirstRow& first_row) { return remote->peers(device, first_row); });
}

}  // namespace distmlip::exchange
