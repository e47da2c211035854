#include "partition/cut.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>

namespace distmlip::partition {
namespace {

/// With more slabs than this times the ratio of the two longest extents, bisection has smaller borders.
constexpr double most_slabs_per_ratio = 4;

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  double extent() const { return high > low ? high - low : 0; }
};

class Cutter {
 public:
  Cutter(const CutInput& input, int32_t n_partitions)
      : input_(input), n_partitions_(n_partitions), owner_(input.n_atoms) {
    const Cell full = completed(input.cell);
    heights_ = perpendicular_heights(full);
    directions_ = inverse(full);
    for (int axis = 0; axis < 3; ++axis) directions_[axis] = scaled(directions_[axis], heights_[axis]);
    order_.resize(owner_.size());
    std::iota(order_.begin(), order_.end(), 0);
    weights_.assign(input.weights, input.weights + owner_.size());
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
    return dot(directions_[axis], {input_.x[atom], input_.y[atom], input_.z[atom]});
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
    if (input_.cell.periodic[axis]) all.high = std::max(all.low + heights_[axis], all.high);
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
  Buffer<int32_t> owner_;
};

}  // namespace

Cut cut(const CutInput& input, int32_t n_partitions, Method method) {
  return Cutter(input, n_partitions).run(method);
}

}  // namespace distmlip::partition
