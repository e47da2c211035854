#include "executor/plans.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

namespace distmlip::executor {
namespace {

/// The rows that one partition reads, by their owners: numbers of rows of the owner's tensor; if that is in
/// another process, of the rows that are received.
struct Reads {
  const partition::RowGroups* groups;
  std::vector<int32_t> rows;
};

at::Tensor index_tensor(const std::vector<int64_t>& values, at::Device device) {
  const auto view =
      at::from_blob(const_cast<int64_t*>(values.data()), static_cast<int64_t>(values.size()), at::kLong);
  return view.to(device, at::kLong, /*non_blocking=*/false, /*copy=*/true);
}

/// Numbers the rows of pools (exchange::RowPlan): one pool per device.
class Planner {
 public:
  /// n_rows: of each partition's tensor.
  Planner(const std::vector<at::Device>& devices, const std::vector<int64_t>& n_rows,
          const std::vector<Reads>& reads, const Others* others)
      : devices_(devices), reads_(reads), others_(others) {
    for (size_t p = 0; p < devices.size(); ++p) {
      const auto found = std::find(different_.begin(), different_.end(), devices[p]);
      device_of_.push_back(static_cast<size_t>(found - different_.begin()));
      if (found == different_.end()) {
        different_.push_back(devices[p]);
        n_pool_.push_back(0);
      }
      first_row_.push_back(n_pool_[device_of_[p]]);
      n_pool_[device_of_[p]] += n_rows[p];
    }
    n_own_ = n_pool_;
  }

  /// Where a partition's rows begin in the pool of its device.
  int64_t first_row(size_t p) const { return first_row_[p]; }

  exchange::RowPlan run() {
    std::vector<std::vector<int64_t>> sources(devices_.size());
    for (size_t q = 0; q < devices_.size(); ++q) {
      sources[q].resize(reads_[q].rows.size());
    }
    exchange::RowPlan plan;
    const size_t n = different_.size();
    if (n > 1) {
      plan.pools.assign(device_of_.begin(), device_of_.end());
    }
    for (size_t d = 0; d < n; ++d) {
      for (size_t e = 0; e < n; ++e) {
        const auto imported = number(d, e, sources);
        if (n > 1) {
          plan.imports.push_back(index_tensor(imported, different_[d]));
        }
      }
    }
    for (size_t q = 0; q < devices_.size(); ++q) {
      plan.sources.push_back(index_tensor(sources[q], devices_[q]));
    }
    return plan;
  }

 private:
  /// Fills in the sources of partitions on device e that are on device d. Returns what e imports from d:
  /// every row once.
  std::vector<int64_t> number(size_t d, size_t e, std::vector<std::vector<int64_t>>& sources) {
    std::vector<int64_t> imported, place(d == e ? 0 : static_cast<size_t>(n_own_[d]), -1);
    for (size_t q = 0; q < devices_.size(); ++q) {
      if (device_of_[q] != e) {
        continue;
      }
      const auto& groups = *reads_[q].groups;
      for (size_t group = 0; group < groups.partner.size(); ++group) {
        const auto p = static_cast<size_t>(groups.partner[group]);
        if (device_of_[p] != d) {
          continue;
        }
        const bool is_received = others_ != nullptr && others_->has(groups.partner[group]);
        for (auto k = static_cast<size_t>(groups.begin[group]);
             k < static_cast<size_t>(groups.begin[group + 1]); ++k) {
          const int64_t row = (is_received ? n_own_[d] : first_row_[p]) + reads_[q].rows[k];
          sources[q][k] = d == e ? row : pool_row(row, e, place, imported);
        }
      }
    }
    return imported;
  }

  int64_t pool_row(int64_t row, size_t e, std::vector<int64_t>& place, std::vector<int64_t>& imported) {
    auto& known = place[static_cast<size_t>(row)];
    if (known < 0) {
      known = n_pool_[e]++;
      imported.push_back(row);
    }
    return known;
  }

  const std::vector<at::Device>& devices_;
  const std::vector<Reads>& reads_;
  const Others* others_;
  std::vector<at::Device> different_;  // in the order in which partitions first name them
  std::vector<size_t> device_of_;
  std::vector<int64_t> first_row_;  // of each partition, in the pool of its device
  std::vector<int64_t> n_own_, n_pool_;
};

/// What this process reads of other ones: numbers the atoms, each once, and asks for them.
class RemoteAtoms {
 public:
  RemoteAtoms(const partition::Decomposition& decomposition, const Others& others)
      : decomposition_(decomposition), others_(others), row_(decomposition.owner.size(), -1) {
    const auto n_ranks = static_cast<size_t>(others.ranks.size());
    remote_.receive_counts.assign(n_ranks, 0);
    for (size_t r = 0; r < n_ranks; ++r) {
      number(static_cast<int32_t>(r));
    }
  }

  /// Of an atom of another process, among the rows that are received.
  int32_t row(int32_t atom) const { return row_[static_cast<size_t>(atom)]; }

  /// first_row(p): where the rows of partition p begin among those of this process.
  template <class FirstRow>
  exchange::RowPlan::Remote ask(at::Device device, FirstRow first_row) {
    std::vector<int64_t> own_row(decomposition_.owner.size(), -1);
    for (size_t p = 0; p < decomposition_.parts.size(); ++p) {
      int64_t row = first_row(p);
      for (const int32_t atom : decomposition_.parts[p].owned) {
        own_row[static_cast<size_t>(atom)] = row++;
      }
    }
    const at::Tensor asked = others_.ranks.all_to_all_unknown(
        index_tensor(wanted_, device), remote_.receive_counts, remote_.send_counts);
    const auto atoms = asked.to(at::kCPU);
    std::vector<int64_t> rows;
    for (int64_t k = 0; k < atoms.size(0); ++k) {
      rows.push_back(own_row[static_cast<size_t>(atoms.const_data_ptr<int64_t>()[k])]);
    }
    remote_.sent = index_tensor(rows, device);
    return std::move(remote_);
  }

 private:
  void number(int32_t rank) {
    if (rank == others_.ranks.rank()) {
      return;
    }
    for (const auto& part : decomposition_.parts) {
      const auto& groups = part.halo_groups;
      for (size_t group = 0; group < groups.partner.size(); ++group) {
        if (others_.rank_of(groups.partner[group]) != rank) {
          continue;
        }
        for (int32_t k = groups.begin[group]; k < groups.begin[group + 1]; ++k) {
          const int32_t atom = part.halo[static_cast<size_t>(k)];
          int32_t& known = row_[static_cast<size_t>(atom)];
          if (known < 0) {
            known = static_cast<int32_t>(wanted_.size());
            wanted_.push_back(atom);
            ++remote_.receive_counts[static_cast<size_t>(rank)];
          }
        }
      }
    }
  }

  const partition::Decomposition& decomposition_;
  const Others& others_;
  std::vector<int32_t> row_;     // of each atom; -1: not read
  std::vector<int64_t> wanted_;  // atoms, by rank
  exchange::RowPlan::Remote remote_;
};

/// One border between a partition of this process and one of another.
struct Border {
  int32_t here, there;
  int32_t begin, end;  // rows of the partition here
};

/// By rank.
std::vector<std::vector<Border>> borders(const std::vector<partition::StepGraph>& graphs, const Others& others) {
  std::vector<std::vector<Border>> all(static_cast<size_t>(others.ranks.size()));
  for (size_t p = 0; p < graphs.size(); ++p) {
    const auto& groups = graphs[p].cut_groups;
    for (size_t group = 0; group < groups.partner.size(); ++group) {
      const int32_t partner = groups.partner[group];
      if (others.has(partner)) {
        all[static_cast<size_t>(others.rank_of(partner))].push_back(
            {static_cast<int32_t>(p), partner, groups.begin[group], groups.begin[group + 1]});
      }
    }
  }
  return all;
}

}  // namespace

int32_t Others::rank_of(int32_t partition) const {
  return static_cast<int32_t>(std::upper_bound(begin.begin(), begin.end(), partition) - begin.begin()) - 1;
}

exchange::RowPlan plan_atoms(const partition::Decomposition& decomposition,
                             const std::vector<at::Device>& devices, const Others* others) {
  const auto& parts = decomposition.parts;
  std::optional<RemoteAtoms> remote;
  if (others != nullptr) {
    remote.emplace(decomposition, *others);
  }
  std::vector<int64_t> n_rows;
  std::vector<Reads> reads;
  for (size_t q = 0; q < parts.size(); ++q) {
    const auto& groups = parts[q].halo_groups;
    n_rows.push_back(parts[q].n_owned());
    reads.push_back({&groups, {}});
    for (size_t group = 0; group < groups.partner.size(); ++group) {
      const int32_t owner = groups.partner[group];
      if (others != nullptr && others->has(owner)) {
        for (int32_t k = groups.begin[group]; k < groups.begin[group + 1]; ++k) {
          reads[q].rows.push_back(remote->row(parts[q].halo[static_cast<size_t>(k)]));
        }
        continue;
      }
      const auto& there = parts[static_cast<size_t>(owner)];
      const auto sends = static_cast<size_t>(there.send_groups.find(static_cast<int32_t>(q)));
      reads[q].rows.insert(reads[q].rows.end(), there.send.begin() + there.send_groups.begin[sends],
                           there.send.begin() + there.send_groups.begin[sends + 1]);
    }
  }
  Planner planner(devices, n_rows, reads, others);
  exchange::RowPlan plan = planner.run();
  if (others != nullptr) {
    plan.remote = remote->ask(devices.front(), [&](size_t p) { return planner.first_row(p); });
  }
  return plan;
}

exchange::RowPlan plan_cut_bonds(const std::vector<partition::StepGraph>& graphs,
                                 const std::vector<at::Device>& devices, const Others* others) {
  // Where the copies that other processes send begin among all that are received, by partitions there and
  // here: they send by their partitions first.
  std::map<std::pair<int32_t, int32_t>, int32_t> received;
  exchange::RowPlan::Remote remote;
  std::vector<Border> sent;
  int32_t n_received = 0;
  for (auto& of_rank : others != nullptr ? borders(graphs, *others) : std::vector<std::vector<Border>>{}) {
    sent.insert(sent.end(), of_rank.begin(), of_rank.end());
    std::sort(of_rank.begin(), of_rank.end(), [](const Border& a, const Border& b) {
      return std::pair(a.there, a.here) < std::pair(b.there, b.here);
    });
    const int32_t before = n_received;
    for (const Border& border : of_rank) {
      received[{border.there, border.here}] = n_received;
      n_received += border.end - border.begin;
    }
    remote.receive_counts.push_back(n_received - before);
  }
  remote.send_counts = remote.receive_counts;  // bonds have one copy on either side
  std::vector<int64_t> n_rows;
  std::vector<Reads> reads;
  for (size_t q = 0; q < graphs.size(); ++q) {
    const auto& groups = graphs[q].cut_groups;
    n_rows.push_back(static_cast<int64_t>(graphs[q].cut_edge.size()));
    reads.push_back({&groups, {}});
    for (size_t group = 0; group < groups.partner.size(); ++group) {
      const int32_t partner = groups.partner[group];
      int32_t first = 0;
      if (others != nullptr && others->has(partner)) {
        first = received.at({partner, static_cast<int32_t>(q)});
      } else {
        const auto& there = graphs[static_cast<size_t>(partner)].cut_groups;
        first = there.begin[static_cast<size_t>(there.find(static_cast<int32_t>(q)))];
      }
      for (int32_t k = 0; k < groups.begin[group + 1] - groups.begin[group]; ++k) {
        reads[q].rows.push_back(first + k);
      }
    }
  }
  Planner planner(devices, n_rows, reads, others);
  exchange::RowPlan plan = planner.run();
  std::vector<int64_t> rows;
  for (const Border& border : sent) {
    for (int32_t row = border.begin; row < border.end; ++row) {
      rows.push_back(planner.first_row(static_cast<size_t>(border.here)) + row);
    }
  }
  if (others != nullptr) {
    remote.sent = index_tensor(rows, devices.front());
    plan.remote = std::move(remote);
  }
  return plan;
}

}  // namespace distmlip::executor
