#include "executor/plans.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <optional>

#include "executor/remote_rows.h"

namespace distmlip::executor {
namespace {

/// The rows that one partition reads, by their owners: numbers of rows of the owner's tensor; if that is in
/// another process, of the rows that are received.
struct Reads {
  const partition::RowGroups* groups;
  std::vector<int32_t> rows;
};

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

/// The rows of partition p that its group for partition q has.
void append_rows(const partition::RowGroups& groups, int32_t q, const std::vector<int32_t>& rows,
                 std::vector<int32_t>& out) {
  const auto group = static_cast<size_t>(groups.find(q));
  out.insert(out.end(), rows.begin() + groups.begin[group], rows.begin() + groups.begin[group + 1]);
}

}  // namespace

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
      if (remote && others->has(owner)) {
        for (int32_t k = groups.begin[group]; k < groups.begin[group + 1]; ++k) {
          reads[q].rows.push_back(remote->row(parts[q].halo[static_cast<size_t>(k)]));
        }
      } else {
        const auto& there = parts[static_cast<size_t>(owner)];
        append_rows(there.send_groups, static_cast<int32_t>(q), there.send, reads[q].rows);
      }
    }
  }
  Planner planner(devices, n_rows, reads, others);
  exchange::RowPlan plan = planner.run();
  if (remote) {
    plan.remote = remote->plan(devices.front(), [&](size_t p) { return planner.first_row(p); });
  }
  return plan;
}

exchange::RowPlan plan_cut_bonds(const std::vector<partition::StepGraph>& graphs,
                                 const std::vector<at::Device>& devices, const Others* others) {
  std::optional<RemoteBonds> remote;
  if (others != nullptr) {
    remote.emplace(graphs, *others);
  }
  std::vector<int64_t> n_rows;
  std::vector<Reads> reads;
  for (size_t q = 0; q < graphs.size(); ++q) {
    const auto& groups = graphs[q].cut_groups;
    n_rows.push_back(static_cast<int64_t>(graphs[q].cut_edge.size()));
    reads.push_back({&groups, {}});
    for (size_t group = 0; group < groups.partner.size(); ++group) {
      const int32_t partner = groups.partner[group];
      int32_t row = 0;
      if (remote && others->has(partner)) {
        row = remote->first(partner, q);
      } else {
        const auto& there = graphs[static_cast<size_t>(partner)].cut_groups;
        row = there.begin[static_cast<size_t>(there.find(static_cast<int32_t>(q)))];
      }
      for (int32_t k = groups.begin[group]; k < groups.begin[group + 1]; ++k) {
        reads[q].rows.push_back(row++);
      }
    }
  }
  Planner planner(devices, n_rows, reads, others);
  exchange::RowPlan plan = planner.run();
  if (remote) {
    plan.remote = remote->plan(devices.front(), [&](size_t p) { return planner.first_row(p); });
  }
  return plan;
}

}  // namespace distmlip::executor
