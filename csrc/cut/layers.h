// Atoms counted in thin layers across a direction: where planes can cut, and what they would touch.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <vector>

#include "cut/input.h"

namespace distmlip::cut {

/// A direction that planes cut across: the normal of two opposite faces of the cell.
struct CutAxis {
  std::array<float, 3> normal{};
  float height = 0;        // Å between the faces; 0 along an open axis
  float per_height = 0;    // 1 / height; 0 along an open axis
  float origin = 0;        // where a periodic axis starts: where a plane would touch the fewest atoms
  bool is_a_ring = false;  // periodic without a gap: the first two pieces have two borders with each other

  float along(float x, float y, float z) const { return normal[0] * x + normal[1] * y + normal[2] * z; }
  /// How many cells a place is away from the one that starts at the origin.
  float turns(float x, float y, float z) const {
    constexpr float most = 1e9f;
    const float turns = std::clamp((along(x, y, z) - origin) * per_height, -most, most);
    const auto truncated = static_cast<float>(static_cast<int>(turns));
    return truncated - static_cast<float>(turns < truncated);
  }
  /// Å along the normal, from the origin to the height if the axis is periodic.
  float place(float x, float y, float z) const { return along(x, y, z) - height * turns(x, y, z); }
};

using CutAxes = std::array<CutAxis, 3>;

struct PlaceRange {
  float low = std::numeric_limits<float>::infinity();
  float high = -std::numeric_limits<float>::infinity();

  void include(float place) {
    low = place < low ? place : low;
    high = place > high ? place : high;
  }
  float extent() const { return high > low ? high - low : 0; }
};

/// The axes of a system, from its atoms or some of them.
CutAxes cut_axes(const Input& atoms);

/// Extent along each axis without what is empty, Å.
std::array<double, 3> occupied_lengths(const Input& atoms, const CutAxes& axes);

/// Number and weight of atoms in layers of equal thickness.
class Layers {
 public:
  /// Empty layers over a range; atoms outside belong to the first or the last one.
  void reset(PlaceRange range, double n_layers, double cutoff);
  /// As many layers as this many atoms and the cutoff deserve.
  void reset_for(PlaceRange range, int64_t n_atoms, double cutoff);

  int32_t layer_of(float place) const {
    return static_cast<int32_t>(std::clamp((place - low_) * per_length_, 0.0f, last_));
  }
  /// bank: 0 or 1, taking turns. Neighbours are often in the same layer, and would wait for each other.
  void add(int32_t layer, float weight, int64_t bank) {
    Content& content = content_[2 * static_cast<int64_t>(layer) + bank];
    ++content.atoms;
    content.weight += weight;
  }
  /// To be called after the last add() and before what follows.
  void finish();

  int32_t size() const { return static_cast<int32_t>(atoms_.size()) - 1; }
  float edge_place(int32_t edge) const { return low_ + static_cast<float>(edge) / per_length_; }
  /// Atoms, and their weight, in the layers before an edge (0 … size()).
  int32_t atoms_before(int32_t edge) const { return atoms_[edge]; }
  double weight_before(int32_t edge) const { return weight_[edge]; }

  /// Number of atoms that have neighbours across a plane at this edge, if all is dense.
  int32_t touched(int32_t edge) const;
  /// The same for both ends together, if they meet.
  int32_t touched_at_ends() const;

  /// The edge with at most `slack` less or more weight before it than `target` where a plane touches few
  /// atoms; -1 if there is none.
  int32_t best_edge(double target, double slack) const;
  /// The last edge with no more than this weight before it.
  int32_t edge_before(double weight) const;

 private:
  float low_ = 0, per_length_ = 0, last_ = 0;
  int32_t reach_ = 0;  // the cutoff, in layers
  struct Content {
    double weight = 0;
    int64_t atoms = 0;
  };
  std::vector<Content> content_;  // (size, 2) of each layer and bank
  std::vector<int32_t> atoms_;    // (size + 1) before each edge
  std::vector<double> weight_;
};

}  // namespace distmlip::cut
