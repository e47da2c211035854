#include "exchange/remote_rows.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "exchange/device_copies.h"

namespace distmlip::exchange {

int32_t Others::rank_of(int32_t partition) const {
  return static_cast<int32_t>(std::upper_bound(begin.begin(), begin.end(), partition) - begin.begin()) - 1;
}

at::Tensor index_tensor(const std::vector<int64_t>& values, at::Device device) {
  const at::Tensor rows = host_memory({std::ssize(values)}, at::kLong, device);
  std::copy(values.begin(), values.end(), rows.mutable_data_ptr<int64_t>());
  return rows.to(device, /*non_blocking=*/true);
}

RemoteAtoms::RemoteAtoms(const partition::Decomposition& decomposition, const Others& others,
                         at::Device device)
    : decomposition_(decomposition),
      others_(others),
      row_(decomposition.owner.size(), -1),
      receive_counts_(others.ranks->size(), 0) {
  for (int32_t rank = 0; rank < others.ranks->size(); ++rank)
    if (rank != others.ranks->rank()) number(rank);
  std::vector<int64_t> rows;  // what their owners call them
  for (const int64_t atom : wanted_)
    rows.push_back(decomposition.shared ? decomposition.shared->rows[atom] : atom);
  const at::Tensor asked =
      others_.ranks->all_to_all_unknown(index_tensor(rows, device), receive_counts_, send_counts_)
          .to(at::kCPU);
  asked_.assign(asked.const_data_ptr<int64_t>(), asked.const_data_ptr<int64_t>() + asked.size(0));
}

void RemoteAtoms::number(int32_t rank) {
  for (const auto& part : decomposition_.parts) {
    part.halo_groups.for_each([&](int32_t owner, int32_t k) {
      int32_t& known = row_[part.halo[k]];
      if (known < 0 && others_.rank_of(owner) == rank) {
        known = static_cast<int32_t>(wanted_.size());
        wanted_.push_back(part.halo[k]);
        ++receive_counts_[rank];
      }
    });
  }
}

/// Rows of asked_ go to who reads them, or, backwards, rows of wanted_ to their owners.
std::vector<double> RemoteAtoms::exchanged(const double* rows, int64_t width, bool backwards) const {
  const auto wide = [&](std::vector<int64_t> counts) {
    for (int64_t& count : counts) count *= width;
    return counts;
  };
  const std::vector<int64_t>& sent = backwards ? wanted_ : asked_;
  const at::Tensor parcel = at::empty({std::ssize(sent) * width}, at::kDouble);
  double* to = parcel.mutable_data_ptr<double>();
  for (const int64_t atom : sent) to = std::copy_n(rows + width * atom, width, to);
  const auto send_counts = wide(backwards ? receive_counts_ : send_counts_);
  const auto receive_counts = wide(backwards ? send_counts_ : receive_counts_);
  const at::Tensor received = others_.ranks->all_to_all(parcel, send_counts, receive_counts);
  const double* from = received.const_data_ptr<double>();
  return {from, from + received.numel()};
}

void RemoteAtoms::bring(double* rows, int64_t width) const {
  const std::vector<double> received = exchanged(rows, width, false);
  const double* from = received.data();
  for (const int64_t atom : wanted_) {
    std::copy_n(from, width, rows + width * atom);
    from += width;
  }
}

void RemoteAtoms::give_back(double* rows, int64_t width) const {
  const std::vector<double> received = exchanged(rows, width, true);
  const double* from = received.data();
  for (const int64_t atom : asked_)
    for (int64_t x = 0; x < width; ++x) rows[width * atom + x] += *from++;
  for (const int64_t atom : wanted_) std::fill_n(rows + width * atom, width, 0.0);
}

Routes::Peers RemoteAtoms::peers(at::Device device,
                                 const std::function<int64_t(int64_t atom)>& pool_row) const {
  std::vector<int64_t> rows;
  for (const int64_t atom : asked_) rows.push_back(pool_row(atom));
  return {index_tensor(rows, device), send_counts_, receive_counts_};
}

RemoteBonds::RemoteBonds(const std::vector<partition::StepGraph>& graphs, const Others& others) {
  std::vector<std::vector<Border>> of_rank(others.ranks->size());
  for (size_t p = 0; p < graphs.size(); ++p) {
    graphs[p].cut_groups.for_each_group([&](int32_t partner, int32_t begin, int32_t end) {
      if (others.has(partner))
        of_rank[others.rank_of(partner)].push_back({static_cast<int32_t>(p), partner, begin, end});
    });
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

Routes::Peers RemoteBonds::peers(at::Device device, const FirstRow& first_row) const {
  std::vector<int64_t> rows;
  for (const Border& border : sent_)
    for (int32_t row = border.begin; row < border.end; ++row) rows.push_back(first_row(border.here) + row);
  return {index_tensor(rows, device), counts_, counts_};  // a bond has one copy on either side
}

}  // namespace distmlip::exchange
