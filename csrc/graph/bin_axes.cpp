#include "graph/bin_axes.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/error.h"

namespace distmlip::graph {
namespace {

constexpr double most_codes = 65535;  // a shift code has 16 bits

/// Bins along x are narrower than the reach: runs along x then hold fewer atoms out of reach.
constexpr std::array<int, 3> bins_per_reach = {2, 1, 1};

constexpr double bins_per_atom = 8;
constexpr double most_bins = 1 << 27;  // copies in periodic images included, nearly

/// Shortens every empty stretch to `longest`. No two atoms move apart, so those within reach of each other
/// still are in bins that are.
void squeeze(Places& places, double longest) {
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

/// Decides the number of bins along each axis; the product is capped, so that vacuum costs nothing.
class AxisLayout {
 public:
  AxisLayout(const Cell& cell, const Vec3& heights, const std::array<Places, 3>& fractional, double reach)
      : cell_(cell), heights_(heights), reach_(reach) {
    for (int k = 0; k < 3; ++k) {
      range_[k] = range_of(fractional[k]);
      if (cell.periodic[k]) range_[k] = {0, 1};
      counts_[k] = std::max(1.0, std::floor(range_[k].length() * heights[k] / reach * bins_per_reach[k]));
    }
    const double n_codes = count_codes();
    bin_budget_ =
        std::min(bins_per_atom * static_cast<double>(fractional[0].size()) + 64, most_bins / n_codes);
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
    for (int k = 0; k < 3; ++k) n_codes *= cell_.periodic[k] ? 2 * std::ceil(layers(k) / counts_[k]) + 1 : 1;
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
    if (cell_.periodic[k]) return std::ceil(reach_ / width);
    return width > 0 ? std::min(std::ceil(reach_ / width), counts_[k] - 1) : 0.0;
  }

  BinAxis axis(int k) const {
    BinAxis axis;
    axis.count = static_cast<int32_t>(counts_[k]);
    axis.layers = static_cast<int32_t>(layers(k));
    axis.images = cell_.periodic[k] ? (axis.layers + axis.count - 1) / axis.count : 0;
    axis.origin = range_[k].low;
    axis.per_unit = range_[k].length() > 0 ? counts_[k] / range_[k].length() : 0.0;
    return axis;
  }

  Cell cell_;
  Vec3 heights_;
  double reach_, bin_budget_;
  std::array<Range, 3> range_;
  std::array<double, 3> counts_;
};

}  // namespace

Places places_along(const Vec3& direction, const double* positions, int64_t n_atoms) {
  Places places(n_atoms);
  for (int64_t atom = 0; atom < n_atoms; ++atom) {
    places[atom] = dot(direction, {positions[3 * atom], positions[3 * atom + 1], positions[3 * atom + 2]});
  }
  return places;
}

Range range_of(const Places& places) {
  const auto [low, high] = std::minmax_element(places.begin(), places.end());
  return {*low, *high};
}

std::array<BinAxis, 3> choose_axes(const Cell& cell, std::array<Places, 3>& fractional, double reach) {
  const Vec3 heights = perpendicular_heights(completed(cell));
  AxisLayout layout(cell, heights, fractional, reach);
  if (layout.has_too_many_bins()) {
    for (int k = 0; k < 3; ++k) {
      if (!cell.periodic[k]) squeeze(fractional[k], reach / heights[k]);
    }
    layout = AxisLayout(cell, heights, fractional, reach);
  }
  return layout.choose();
}

}  // namespace distmlip::graph
