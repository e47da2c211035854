#include "cut/layers.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace distmlip::cut {
namespace {

constexpr double layers_per_cutoff = 64;
constexpr double atoms_per_layer = 1;
constexpr double most_layers = 4096;

/// Distance from a place to the next atom that is hardly ever exceeded by chance, in mean distances.
constexpr double gap_by_chance = 3;
/// In cutoffs, on either side of a plane.
constexpr double narrow_gap = 0.1;

/// A cut that uses all the slack that it has must touch so much less.
constexpr double gain_for_slack = 0.05;

/// Place that a ring of atoms is best opened at: the middle of the gap where the fewest are touched.
void open_ring(const Input& atoms, CutAxis& axis) {
  PlaceRange range;
  std::vector<float> places(atoms.n_atoms);
  for (int64_t k = 0; k < atoms.n_atoms; ++k) {
    places[k] = axis.place(atoms.x[k], atoms.y[k], atoms.z[k]);
    range.include(places[k]);
  }
  // Two turns, so that a plane at any place has neighbours on either side.
  range.high = range.low + 2 * axis.height;
  Layers layers;
  layers.reset_for(range, 2 * atoms.n_atoms, atoms.cutoff);
  for (const float turn : {0.0f, axis.height})
    for (const float place : places) layers.add(layers.layer_of(place + turn), 0, 0);
  layers.finish();
  int32_t best = layers.size() / 4;
  for (int32_t edge = best; edge < layers.size() / 4 + layers.size() / 2; ++edge)
    if (layers.touched(edge) < layers.touched(best)) best = edge;
  int32_t end = best;
  while (end < layers.size() && layers.atoms_before(end + 1) == layers.atoms_before(best)) ++end;
  axis.is_a_ring = layers.touched(best) > 0;
  axis.origin = layers.edge_place(best) + (layers.edge_place(end) - layers.edge_place(best)) / 2;
}

}  // namespace

CutAxes cut_axes(const Input& atoms) {
  const Cell full = completed(atoms.cell);
  const auto directions = inverse(full);
  CutAxes axes;
  for (int k = 0; k < 3; ++k) {
    const double height = 1 / norm(directions[k]);
    for (int c = 0; c < 3; ++c) axes[k].normal[c] = static_cast<float>(directions[k][c] * height);
    if (!atoms.cell.periodic[k] || atoms.n_atoms == 0) continue;
    axes[k].height = static_cast<float>(height);
    axes[k].per_height = 1 / axes[k].height;
    open_ring(atoms, axes[k]);
  }
  return axes;
}

std::array<double, 3> occupied_lengths(const Input& atoms, const CutAxes& axes) {
  std::array<double, 3> lengths{};
  for (int k = 0; k < 3; ++k) {
    PlaceRange range;
    for (int64_t i = 0; i < atoms.n_atoms; ++i)
      range.include(axes[k].place(atoms.x[i], atoms.y[i], atoms.z[i]));
    Layers layers;
    // Where atoms are many they leave no layer empty by chance.
    const double n_layers =
        std::min(2 * range.extent() / atoms.cutoff, static_cast<double>(atoms.n_atoms) / 8);
    layers.reset(range, n_layers, atoms.cutoff);
    for (int64_t i = 0; i < atoms.n_atoms; ++i)
      layers.add(layers.layer_of(axes[k].place(atoms.x[i], atoms.y[i], atoms.z[i])), 0, 0);
    layers.finish();
    int32_t occupied = 0;
    for (int32_t layer = 0; layer < layers.size(); ++layer)
      occupied += layers.atoms_before(layer + 1) > layers.atoms_before(layer);
    lengths[k] = static_cast<double>(range.extent()) * occupied / layers.size();
  }
  return lengths;
}

void Layers::reset(PlaceRange range, double n_layers, double cutoff) {
  const int32_t size = static_cast<int32_t>(std::clamp(n_layers, 1.0, most_layers));
  low_ = range.low;
  last_ = static_cast<float>(size - 1);
  per_length_ = range.extent() > 0 ? static_cast<float>(size) / range.extent() : 0;
  reach_ = static_cast<int32_t>(std::min<double>(size, std::round(cutoff * per_length_)));
  content_.assign(2 * static_cast<size_t>(size), {});
}

void Layers::reset_for(PlaceRange range, int64_t n_atoms, double cutoff) {
  reset(range,
        std::min(range.extent() * layers_per_cutoff / cutoff, static_cast<double>(n_atoms) / atoms_per_layer),
        cutoff);
}

void Layers::finish() {
  atoms_.assign(1, 0);
  weight_.assign(1, 0.0);
  for (size_t k = 0; k < content_.size(); k += 2) {
    atoms_.push_back(atoms_.back() + static_cast<int32_t>(content_[k].atoms + content_[k + 1].atoms));
    weight_.push_back(weight_.back() + (content_[k].weight + content_[k + 1].weight));
  }
}

int32_t Layers::touched(int32_t edge) const {
  const int32_t lowest = std::max(edge - reach_, 0), highest = std::min(edge + reach_, size());
  const int32_t near = atoms_[highest] - atoms_[lowest];
  if (near == 0) return 0;
  // If the plane lies in a gap, what touches it is within the cutoff of the gap's other side. Narrow gaps do
  // not count: neighbours are some distance apart everywhere, and few atoms leave gaps by chance.
  const auto by_chance =
      static_cast<int32_t>(std::max(gap_by_chance * (highest - lowest) / near, narrow_gap * reach_));
  const auto [first, last] = std::equal_range(atoms_.begin(), atoms_.end(), atoms_[edge]);
  const auto gap_begin = static_cast<int32_t>(first - atoms_.begin());
  const auto gap_end = static_cast<int32_t>(last - atoms_.begin()) - 1;
  const int32_t below = std::max(edge - gap_begin - by_chance, 0),
                above = std::max(gap_end - edge - by_chance, 0);
  return atoms_[std::max(highest - below, edge)] - atoms_[std::min(lowest + above, edge)];
}

int32_t Layers::touched_at_ends() const {
  return atoms_[std::min(reach_, size())] + atoms_.back() - atoms_[std::max(size() - reach_, 0)];
}

int32_t Layers::best_edge(double target, double slack) const {
  const auto first = std::lower_bound(weight_.begin(), weight_.end(), target - slack);
  const auto last = std::upper_bound(first, weight_.end(), target + slack);
  int32_t best = -1;
  double lowest = std::numeric_limits<double>::infinity();
  for (auto edge = static_cast<int32_t>(first - weight_.begin()); edge < last - weight_.begin(); ++edge) {
    const double used = slack > 0 ? std::abs(weight_[edge] - target) / slack : 0;
    const double score = (1 + touched(edge)) * (1 + gain_for_slack * used);
    if (score < lowest) best = edge;
    lowest = std::min(lowest, score);
  }
  return best;
}

int32_t Layers::edge_before(double weight) const {
  return static_cast<int32_t>(std::upper_bound(weight_.begin() + 1, weight_.end(), weight) -
                              weight_.begin()) -
         1;
}

}  // namespace distmlip::cut
