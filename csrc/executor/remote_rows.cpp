#include "executor/remote_rows.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace distmlip::executor {

int32_t Others::rank_of(int32_t partition) const {
  return static_cast<int32_t>(std::upper_bound(begin.begin(), begin.end(), partition) - begin.begin()) - 1;
}

at::Tensor index_tensor(const std::vector<int64_t>& values, at::Device device) {
  const auto view =
      at::from_blob(const_cast<int64_t*>(values.data()), static_cast<int64_t>(values.size()), at::kLong);
  return view.to(device, at::kLong, /*non_blocking=*/false, /*copy=*/true);
}

RemoteAtoms::RemoteAtoms(const partition::Decomposition& decomposition, const Others& others)
    : decomposition_(decomposition),
      others_(others),
      row_(decomposition.owner.size(), -1),
      counts_(static_cast<size_t>(others.ranks.size()), 0) {
  for (int32_t rank = 0; rank < others.ranks.size(); ++rank) {
    if (rank != others.ranks.rank()) {
      number(rank);
    }
  }
}

void RemoteAtoms::number(int32_t rank) {
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
          ++counts_[static_cast<size_t>(rank)];
        }
      }
    }
  }
}

exchange::RowPlan::Remote RemoteAtoms::plan(at::Device device, const FirstRow& first_row) {
  std::vector<int64_t> own_row(decomposition_.owner.size(), -1);
  for (size_t p = 0; p < decomposition_.parts.size(); ++p) {
    int64_t row = first_row(p);
    for (const int32_t atom : decomposition_.parts[p].owned) {
      own_row[static_cast<size_t>(atom)] = row++;
    }
  }
  exchange::RowPlan::Remote remote;
  remote.receive_counts = counts_;
  const at::Tensor asked =
      others_.ranks.all_to_all_unknown(index_tensor(wanted_, device), counts_, remote.send_counts)
          .to(at::kCPU);
  std::vector<int64_t> rows;
  for (int64_t k = 0; k < asked.size(0); ++k) {
    rows.push_back(own_row[static_cast<size_t>(asked.const_data_ptr<int64_t>()[k])]);
  }
  remote.sent = index_tensor(rows, device);
  return remote;
}

RemoteBonds::RemoteBonds(const std::vector<partition::StepGraph>& graphs, const Others& others) {
  std::vector<std::vector<Border>> of_rank(static_cast<size_t>(others.ranks.size()));
  for (size_t p = 0; p < graphs.size(); ++p) {
    const auto& groups = graphs[p].cut_groups;
    for (size_t group = 0; group < groups.partner.size(); ++group) {
      const int32_t partner = groups.partner[group];
      if (others.has(partner)) {
        of_rank[static_cast<size_t>(others.rank_of(partner))].push_back(
            {p, partner, groups.begin[group], groups.begin[group + 1]});
      }
    }
  }
  for (auto& borders : of_rank) {
    sent_.insert(sent_.end(), borders.begin(), borders.end());
    std::stable_sort(borders.begin(), borders.end(),
                     [](const Border& a, const Border& b) { return a.there < b.there; });
    const int32_t before = n_received_;
    for (const Border& border : borders) {
      first_[{border.there, border.here}] = n_received_;
      n_received_ += border.end - border.begin;
    }
    counts_.push_back(n_received_ - before);
  }
}

exchange::RowPlan::Remote RemoteBonds::plan(at::Device device, const FirstRow& first_row) const {
  std::vector<int64_t> rows;
  for (const Border& border : sent_) {
    for (int32_t row = border.begin; row < border.end; ++row) {
      rows.push_back(first_row(border.here) + row);
    }
  }
  return {index_tensor(rows, device), counts_, counts_};  // a bond has one copy on either side
}

}  // namespace distmlip::executor
