#include "partition/cut.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>

#include "graph/neighbor_search.h"

namespace distmlip::partition {
namespace {

/// With more slabs than this times the ratio of the two longest extents, bisection has smaller borders.
constexpr double most_slabs_per_ratio = 4;

/// Of so many atoms in the same bin, one is counted the neighbours of. Bin populations alone would misjudge
/// crystals by 10 %: they depend on how many layers happen to fall into a bin.
constexpr int32_t atoms_per_sample = 8;

/// Number of edges of each atom, itself counted as one: nearly exact, at a fraction of the search.
std::vector<double> estimated_weights(const graph::Bins& bins, const std::vector<int32_t>& order) {
  std::vector<double> weights(bins.n_atoms());
  graph::NeighborSearch near(bins);
  int32_t bin = -1, since = 0;
  double weight = 0;
  for (const int32_t atom : order) {
    if (bins.bin[atom] != bin || since == atoms_per_sample) {
      weight = static_cast<double>(near.around(atom).size());
      bin = bins.bin[atom];
      since = 0;
    }
    weights[atom] = weight;
    ++since;
  }
  return weights;
}

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  double extent() const { return high > low ? high - low : 0; }
};

class Cutter {
 public:
  Cutter(const CutInput& input, int32_t n_partitions)
      : input_(input), n_partitions_(n_partitions), owner_(input.bins.n_atoms()) {
    const Cell full = completed(input.cell);
    heights_ = perpendicular_heights(full);
    directions_ = inverse(full);
    for (int axis = 0; axis < 3; ++axis) directions_[axis] = scaled(directions_[axis], heights_[axis]);
    order_.reserve(owner_.size());
    for (size_t slot = 0; slot < input.bins.atom.size(); ++slot) {
      const int32_t atom = input.bins.atom[slot];
      if (input.bins.slot[atom] == static_cast<int32_t>(slot)) order_.push_back(atom);
    }
    if (input.weights) {
      weights_.assign(input.weights, input.weights + owner_.size());
    } else if (n_partitions > 1) {
      weights_ = estimated_weights(input.bins, order_);
    } else {
      weights_.assign(owner_.size(), 1.0);
    }
    const double total = std::accumulate(weights_.begin(), weights_.end(), 0.0);
    if (!(total > 0)) std::fill(weights_.begin(), weights_.end(), 1.0);
  }

  Cut run(Method method) {
    std::array<double, 3> lengths;
    for (int axis = 0; axis < 3; ++axis) lengths[axis] = occupied_length(axis);
    const int longest = static_cast<int>(std::max_element(lengths.begin(), lengths.end()) - lengths.begin());
    if (method == Method::automatic) {
      std::sort(lengths.begin(), lengths.end());
      const bool slabs_are_thick = n_partitions_ * lengths[1] <= most_slabs_per_ratio * lengths[2];
      method = slabs_are_thick ? Method::slab : Method::bisection;
    }
    if (method == Method::slab) {
      cut_slabs(longest);
    } else {
      bisect(0, static_cast<int64_t>(order_.size()), 0, n_partitions_);
    }
    return {std::move(owner_), method};
  }

 private:
  /// Å along the normal of the faces that the axis connects.
  double coordinate(int32_t atom, int axis) const {
    const double* position = input_.wrapped + 3 * static_cast<int64_t>(atom);
    return dot(directions_[axis], {position[0], position[1], position[2]});
  }

  Range range(int axis, int64_t begin, int64_t end) const {
    Range range;
    for (int64_t k = begin; k < end; ++k) {
      const double place = coordinate(order_[k], axis);
      range.low = std::min(range.low, place);
      range.high = std::max(range.high, place);
    }
    return range;
  }

  /// Extent of the system along the axis without what is empty.
  double occupied_length(int axis) const {
    Range all = range(axis, 0, static_cast<int64_t>(order_.size()));
    if (input_.cell.periodic[axis]) all = {std::min(0.0, all.low), std::max(heights_[axis], all.high)};
    const double wanted = std::clamp(std::floor(2 * all.extent() / input_.cutoff), 1.0, 4096.0);
    std::vector<char> occupied(static_cast<size_t>(wanted) + 1, 0);
    const double per_length = all.extent() > 0 ? wanted / all.extent() : 0;
    for (int32_t atom : order_)
      occupied[static_cast<size_t>((coordinate(atom, axis) - all.low) * per_length)] = 1;
    const double full = static_cast<double>(std::count(occupied.begin(), occupied.end(), 1));
    return all.extent() * std::min(1.0, full / wanted);
  }

  /// Sorts order_[begin, end) along the axis; equal places stay in their order.
  void sort_along(int axis, int64_t begin, int64_t end) {
    const Range all = range(axis, begin, end);
    const double per_length = all.extent() > 0 ? 4294967295.0 / all.extent() : 0;
    struct Item {
      uint32_t key;
      int32_t atom;
    };
    std::vector<Item> items(end - begin), sorted(end - begin);
    for (int64_t k = begin; k < end; ++k) {
      const double place = (coordinate(order_[k], axis) - all.low) * per_length;
      items[k - begin] = {static_cast<uint32_t>(std::min(place, 4294967295.0)), order_[k]};
    }
    constexpr int bits = 11;
    for (int shift = 0; shift < 32; shift += bits) {
      std::vector<int64_t> first((1 << bits) + 1, 0);
      const auto digit = [&](const Item& item) { return (item.key >> shift) & ((1u << bits) - 1); };
      for (const Item& item : items) ++first[digit(item) + 1];
      std::partial_sum(first.begin(), first.end(), first.begin());
      for (const Item& item : items) sorted[first[digit(item)]++] = item;
      items.swap(sorted);
    }
    for (int64_t k = begin; k < end; ++k) order_[k] = items[k - begin].atom;
  }

  double total_weight(int64_t begin, int64_t end) const {
    double total = 0;
    for (int64_t k = begin; k < end; ++k) total += weights_[order_[k]];
    return total;
  }

  void cut_slabs(int axis) {
    const auto n_atoms = static_cast<int64_t>(order_.size());
    sort_along(axis, 0, n_atoms);
    const double total = total_weight(0, n_atoms);
    double before = 0;
    for (int32_t atom : order_) {
      const double middle = before + weights_[atom] / 2;
      before += weights_[atom];
      owner_[atom] = std::min(n_partitions_ - 1, static_cast<int32_t>(n_partitions_ * (middle / total)));
    }
  }

  void bisect(int64_t begin, int64_t end, int32_t first, int32_t count) {
    if (count == 1 || begin == end) {
      for (int64_t k = begin; k < end; ++k) owner_[order_[k]] = first;
      return;
    }
    int longest = 0;
    double length = -1;
    for (int axis = 0; axis < 3; ++axis) {
      const double extent = range(axis, begin, end).extent();
      if (extent > length) longest = axis;
      length = std::max(length, extent);
    }
    sort_along(longest, begin, end);
    const int32_t left = count / 2;
    const double target = total_weight(begin, end) * left / count;
    int64_t middle = begin;
    for (double before = 0; middle < end; ++middle) {
      const double weight = weights_[order_[middle]];
      if (before + weight / 2 > target) break;
      before += weight;
    }
    bisect(begin, middle, first, left);
    bisect(middle, end, first + left, count - left);
  }

  const CutInput& input_;
  int32_t n_partitions_;
  Vec3 heights_;
  std::array<Vec3, 3> directions_;
  std::vector<double> weights_;
  std::vector<int32_t> order_;
  std::vector<int32_t> owner_;
};

}  // namespace

Cut cut(const CutInput& input, int32_t n_partitions, Method method) {
  return Cutter(input, n_partitions).run(method);
}

}  // namespace distmlip::partition
