#include "neighbors/bin_axes.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace distmlip::neighbors {
namespace {

constexpr double most_codes = 65535;  // a shift code has 16 bits

constexpr double bins_per_atom = 8;
constexpr double most_bins = 1 << 27;  // copies in periodic images included, nearly

/// Layers of an axis; their number is bounded by that of the atoms.
kernels::Squeeze layers_of(const Range& range, double longest, int64_t n_atoms) {
  const double most_layers = std::min(64 * static_cast<double>(n_atoms) + 1024, 1048576.0);
  const double width = std::max(longest * (1 + 1e-9), range.length() / most_layers);
  kernels::Squeeze layers;
  layers.n = static_cast<int32_t>(range.length() / width) + 1;
  layers.origin = range.low;
  layers.per_unit = 1 / width;
  return layers;
}

std::vector<double> removed_before(const std::vector<uint8_t>& occupied, double width) {
  std::vector<double> removed(occupied.size());
  double total = 0;
  int64_t empty = 0;
  for (size_t layer = 0; layer < occupied.size(); ++layer) {
    empty = occupied[layer] ? 0 : empty + 1;
    if (empty > 1) total += width;
    removed[layer] = total;
  }
  return removed;
}

/// Decides the number of bins along each axis; the product is capped, so that vacuum costs nothing.
class AxisLayout {
 public:
  AxisLayout(const Extent& extent, int64_t n_atoms, const Vec3& heights, double reach)
      : heights_(heights), reach_(reach), range_(extent.fractional), meets_images_(extent.meets_images) {
    for (int k = 0; k < 3; ++k) set_range(k, range_[k]);
    const double n_codes = count_codes();
    bin_budget_ = std::min(bins_per_atom * static_cast<double>(n_atoms) + 64, most_bins / n_codes);
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
      invalid("a search radius of ", reach_, " Ang reaches ", n_codes,
              " periodic images of the cell, whose heights are ", heights_[0], ", ", heights_[1], " and ",
              heights_[2], " Ang; at most ", most_codes,
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

BinLayout choose_bins(const Cell& cell, const Extent& extent, int64_t n_atoms, double reach,
                      const FindOccupied& find_occupied) {
  const Vec3 heights = perpendicular_heights(completed(cell));
  AxisLayout layout(extent, n_atoms, heights, reach);
  BinLayout bins;
  for (int axis = 0; axis < 3 && layout.has_too_many_bins(); ++axis) {
    if (extent.meets_images[axis]) continue;
    const Range range = extent.fractional[axis];
    AxisLayers& layers = bins.layers[axis];
    layers.squeeze = layers_of(range, reach / heights[axis], n_atoms);
    layers.removed = removed_before(find_occupied(axis, layers.squeeze), 1 / layers.squeeze.per_unit);
    layout.set_range(axis, {range.low, range.high - layers.removed.back()});
  }
  bins.axes = layout.choose();
  return bins;
}

}  // namespace distmlip::neighbors
