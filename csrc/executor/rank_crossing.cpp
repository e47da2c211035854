#include "executor/rank_crossing.h"

#include <ATen/ATen.h>

#include <numeric>
#include <utility>

namespace distmlip::executor {
namespace {

using exchange::PerPartition;
using exchange::RowPlan;
using Kind = ExchangeSpec::Kind;

class Rows : public RankCrossing {
 public:
  Rows(const RowPlan& plan, PerPartition tensors) : plan_(plan), tensors_(std::move(tensors)) {
    send_counts = plan.remote.send_counts;
    receive_counts = plan.remote.receive_counts;
  }

 protected:
  const RowPlan& plan_;
  PerPartition tensors_;
};

/// Of exchange::halo and exchange::swap.
class GatherCrossing : public Rows {
 public:
  using Exchange = PerPartition(const RowPlan&, const PerPartition&, const at::Tensor&);

  GatherCrossing(const RowPlan& plan, PerPartition tensors, Exchange& exchange)
      : Rows(plan, std::move(tensors)), exchange_(exchange) {
    sent = exchange::sent_rows(plan_, tensors_);
  }
  PerPartition finish() override { return exchange_(plan_, tensors_, received); }

 private:
  Exchange& exchange_;
};

class FoldCrossing : public Rows {
 public:
  FoldCrossing(const RowPlan& plan, PerPartition tensors)
      : Rows(plan, {}), folded_(exchange::begin_fold(plan, tensors)) {
    std::swap(send_counts, receive_counts);
    sent = folded_.collected;
  }
  PerPartition finish() override { return exchange::end_fold(plan_, std::move(folded_), received); }

 private:
  exchange::HalfFolded folded_;
};

class AddCrossing : public Rows {
 public:
  AddCrossing(const RowPlan& plan, const PerPartition& cut, PerPartition tensors)
      : Rows(plan, std::move(tensors)), cut_(cut) {
    sent = exchange::sent_rows(plan_, exchange::rows_of(cut_, tensors_));
  }
  PerPartition finish() override { return exchange::add(plan_, cut_, tensors_, received); }

 private:
  const PerPartition& cut_;
};

/// Every rank sends its sum to all, itself too, and adds what it gets in the order of ranks.
class SumCrossing : public RankCrossing {
 public:
  SumCrossing(const exchange::Ranks& ranks, const PerPartition& tensors) : n_partitions_(tensors.size()) {
    send_counts = receive_counts = std::vector<int64_t>(static_cast<size_t>(ranks.size()), 1);
    const at::Tensor mine = exchange::all_sum(tensors).front().unsqueeze(0);
    sent = at::cat(PerPartition(static_cast<size_t>(ranks.size()), mine), 0);
  }
  PerPartition finish() override {
    const at::Tensor total = exchange::all_sum(received.unbind(0)).front();
    PerPartition result;
    for (size_t p = 0; p < n_partitions_; ++p) {
      result.push_back(total.clone());
    }
    return result;
  }

 private:
  size_t n_partitions_;
};

/// Numbers per row.
int64_t width_of(const at::Tensor& rows) {
  const auto sizes = rows.sizes().slice(1);
  return std::accumulate(sizes.begin(), sizes.end(), int64_t{1}, std::multiplies<>());
}

int64_t sum(const std::vector<int64_t>& counts, size_t end) {
  return std::accumulate(counts.begin(), counts.begin() + static_cast<std::ptrdiff_t>(end), int64_t{0});
}

}  // namespace

std::unique_ptr<RankCrossing> RankCrossing::make(const Boundary& boundary, Boundary::Crossing& crossing,
                                                 bool adjoint) {
  PerPartition tensors = std::move(crossing.tensors);
  switch (crossing.spec.kind) {
    case Kind::halo:
      if (adjoint) {
        return std::make_unique<FoldCrossing>(boundary.atoms, std::move(tensors));
      }
      return std::make_unique<GatherCrossing>(boundary.atoms, std::move(tensors), exchange::halo);
    case Kind::add:
      return std::make_unique<AddCrossing>(boundary.bonds, boundary.cut, std::move(tensors));
    case Kind::swap:
      return std::make_unique<GatherCrossing>(boundary.bonds, std::move(tensors), exchange::swap);
    case Kind::all_sum:
      return std::make_unique<SumCrossing>(*boundary.ranks, tensors);
  }
  TORCH_CHECK(false, "unknown kind of exchange");
}

void send_together(exchange::Ranks& ranks, const std::vector<std::unique_ptr<RankCrossing>>& crossings) {
  if (crossings.empty()) {
    return;
  }
  const auto n_ranks = static_cast<size_t>(ranks.size());
  std::vector<int64_t> send_counts(n_ranks, 0), receive_counts(n_ranks, 0);
  std::vector<at::Tensor> pieces;
  for (const auto& crossing : crossings) {
    TORCH_CHECK_TYPE(crossing->sent.scalar_type() == crossings.front()->sent.scalar_type(),
                     "tensors that cross ranks before the same stage are ", crossing->sent.scalar_type(),
                     " and ", crossings.front()->sent.scalar_type(), "; give them the dtype of the model");
  }
  for (size_t r = 0; r < n_ranks; ++r) {
    for (const auto& crossing : crossings) {
      const int64_t first = sum(crossing->send_counts, r), width = width_of(crossing->sent);
      pieces.push_back(crossing->sent.narrow(0, first, crossing->send_counts[r]).reshape({-1}));
      send_counts[r] += width * crossing->send_counts[r];
      receive_counts[r] += width * crossing->receive_counts[r];
    }
  }
  const at::Tensor received = ranks.all_to_all(at::cat(pieces, 0), send_counts, receive_counts);
  std::vector<PerPartition> parts(crossings.size());
  int64_t at = 0;
  for (size_t r = 0; r < n_ranks; ++r) {
    for (size_t k = 0; k < crossings.size(); ++k) {
      const int64_t count = width_of(crossings[k]->sent) * crossings[k]->receive_counts[r];
      parts[k].push_back(received.narrow(0, at, count));
      at += count;
    }
  }
  for (size_t k = 0; k < crossings.size(); ++k) {
    auto shape = crossings[k]->sent.sizes().vec();
    shape[0] = sum(crossings[k]->receive_counts, n_ranks);
    crossings[k]->received = at::cat(parts[k], 0).reshape(shape);
  }
}

}  // namespace distmlip::executor
