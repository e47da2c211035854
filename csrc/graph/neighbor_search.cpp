#include "graph/neighbor_search.h"

namespace distmlip::graph {
namespace {

/// visit(first slot, end slot) for each run of bins within reach of `bin`.
template <class Visit>
void for_each_run(const Bins& bins, int64_t bin, Visit visit) {
  const int64_t along_x = bins.axes[0].layers;
  for (int64_t z = -bins.axes[2].layers; z <= bins.axes[2].layers; ++z) {
    for (int64_t y = -bins.axes[1].layers; y <= bins.axes[1].layers; ++y) {
      const int64_t middle = bin + z * bins.plane_stride() + y * bins.row_stride();
      visit(bins.begin[middle - along_x], bins.begin[middle + along_x + 1]);
    }
  }
}

}  // namespace

std::span<const int32_t> NeighborSearch::around(int64_t atom) {
  if (bins_.bin[atom] != bin_) enter(bins_.bin[atom]);
  const int32_t slot = bins_.slot[atom];
  const kernels::Coordinates coordinates{bins_.x.data(), bins_.y.data(), bins_.z.data()};
  const int64_t n_hits =
      kernels::filter_within(coordinates, runs_.data(), static_cast<int64_t>(runs_.size()), bins_.x[slot],
                             bins_.y[slot], bins_.z[slot], bins_.reach_squared, hits_.data());
  return {hits_.data(), static_cast<size_t>(n_hits)};
}

void NeighborSearch::enter(int32_t bin) {
  bin_ = bin;
  runs_.clear();
  int64_t count = 0;
  for_each_run(bins_, bin, [&](int32_t begin, int32_t end) {
    if (begin == end) return;
    runs_.push_back({begin, end});
    count += end - begin;
  });
  if (static_cast<int64_t>(hits_.size()) < count + kernels::filter_slack) {
    hits_.resize(count + kernels::filter_slack);
  }
}

}  // namespace distmlip::graph
