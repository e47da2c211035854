#include "graph/bin_axes.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/error.h"

namespace distmlip::graph {
namespace {

constexpr double most_codes = 65535;  // a shift code has 16 bits

constexpr double bins_per_atom = 8;
constexpr double most_bins = 1 << 27;  // copies in periodic images included, nearly

/// Shortens every empty stretch to `longest`. No two atoms move apart, so those within reach of each other
/// still are in bins that are.
void squeeze(std::vector<double>& places, double longest) {
  std::vector<int32_t> order(places.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return places[a] < places[b]; });
  double before = places[order.front()], removed = 0;
  for (const int32_t atom : order) {
    removed += std::max(0.0, places[atom] - before - longest);
    before = places[atom];
    places[atom] -= removed;
  }
}

std::vector<double> places_along(const Vec3& row, const Wrapped& wrapped) {
  std::vector<double> places(wrapped.n_atoms());
  for (int64_t atom = 0; atom < wrapped.n_atoms(); ++atom) {
    const double* position = wrapped.positions.data() + 3 * atom;
    places[atom] = dot(row, {position[0], position[1], position[2]});
  }
  return places;
}

/// Decides the number of bins along each axis; the product is capped, so that vacuum costs nothing.
class AxisLayout {
 public:
  AxisLayout(const Wrapped& wrapped, const Vec3& heights, double reach)
      : heights_(heights), reach_(reach), range_(wrapped.fractional), meets_images_(wrapped.meets_images) {
    for (int k = 0; k < 3; ++k) set_range(k, range_[k]);
    const double n_codes = count_codes();
    bin_budget_ = std::min(bins_per_atom * static_cast<double>(wrapped.n_atoms()) + 64, most_bins / n_codes);
  }

  void set_range(int axis, const Range& range) {
    range_[axis] = range;
    counts_[axis] = std::max(1.0, std::floor(range.length() * heights_[axis] / reach_));
  }

  bool has_too_many_bins() const { return counts_[0] * counts_[1] * counts_[2] > bin_budget_; }

  std::array<BinAxis, 3> choose() {
    while (has_too_many_bins()) {
      double& largest = *std::max_element(counts_.begin(), counts_.end());
      largest = std::ceil(largest / 2);
    }
    return {axis(0), axis(1), axis(2)};
  }

 private:
  /// Number of periodic images of the cell within reach, its own included; there is a limit to it.
  double count_codes() const {
    double n_codes = 1;
    for (int k = 0; k < 3; ++k) n_codes *= meets_images_[k] ? 2 * std::ceil(layers(k) / counts_[k]) + 1 : 1;
    if (n_codes > most_codes) {
      invalid("a search radius of ", reach_, " Å reaches ", n_codes,
              " periodic images of the cell, whose heights are ", heights_[0], ", ", heights_[1], " and ",
              heights_[2], " Å; at most ", most_codes,
              " are supported: repeat the cell or use a smaller cutoff");
    }
    return n_codes;
  }

  double layers(int k) const {
    const double width = range_[k].length() * heights_[k] / counts_[k];
    if (meets_images_[k]) return std::ceil(reach_ / width);
    return width > 0 ? std::min(std::ceil(reach_ / width), counts_[k] - 1) : 0.0;
  }

  BinAxis axis(int k) const {
    BinAxis axis;
    axis.count = static_cast<int32_t>(counts_[k]);
    axis.layers = static_cast<int32_t>(layers(k));
    axis.images = meets_images_[k] ? (axis.layers + axis.count - 1) / axis.count : 0;
    axis.origin = range_[k].low;
    axis.per_unit = range_[k].length() > 0 ? counts_[k] / range_[k].length() : 0.0;
    return axis;
  }

  Vec3 heights_;
  double reach_, bin_budget_;
  std::array<Range, 3> range_;
  std::array<bool, 3> meets_images_;
  std::array<double, 3> counts_;
};

}  // namespace

BinLayout choose_bins(const Cell& cell, const Wrapped& wrapped, double reach) {
  const Cell full = completed(cell);
  const Vec3 heights = perpendicular_heights(full);
  const auto rows = inverse(full);
  AxisLayout layout(wrapped, heights, reach);
  BinLayout bins;
  if (layout.has_too_many_bins()) {
    for (int axis = 0; axis < 3; ++axis) {
      if (wrapped.meets_images[axis]) continue;
      auto& places = bins.squeezed[axis];
      places = places_along(rows[axis], wrapped);
      squeeze(places, reach / heights[axis]);
      const auto [low, high] = std::minmax_element(places.begin(), places.end());
      layout.set_range(axis, {*low, *high});
    }
  }
  bins.axes = layout.choose();
  return bins;
}

}  // namespace distmlip::graph
