#include "cut/plane_cuts.h"

#include <algorithm>
#include <bit>
#include <numbers>
#include <numeric>
#include <utility>
#include <vector>

#include "core/thread_pool.h"

namespace distmlip::cut {
namespace {

/// So many atoms tell the extent of many.
constexpr int64_t atoms_for_extent = 512;

/// With fewer atoms for each, starting threads costs more than it saves.
constexpr int64_t atoms_per_thread = 8192;

/// A ring is opened only if that touches so much less than another cut: in doubt it stays whole, and the
/// pieces have no edges and corners there.
constexpr double whole_ring_preference = 1.05;

/// A cut may miss its target by this part of the smaller side, whatever the budget allows.
constexpr double most_slack = 0.1;

/// Atoms order[begin, end), to be given to partitions [first, first + count).
struct Piece {
  int64_t begin, end;
  int32_t first, count;
  std::array<bool, 3> was_cut{};
};

/// Scratch of one thread.
struct Scratch {
  struct SplitAtom {
    int32_t layer;
    float place;
    int64_t index;
    auto operator<=>(const SplitAtom&) const = default;
  };
  Layers layers;
  std::vector<double> cuts;            // weight before each cut, ascending
  std::vector<int32_t> side_of_layer;  // cuts before the layer; -1: there is one in it
  std::vector<SplitAtom> split;        // atoms of those layers
};

class Cutter {
 public:
  Cutter(const Input& input, const CutAxes& axes, int32_t n_partitions)
      : input_(input), axes_(axes), n_partitions_(n_partitions) {
    order_.resize(input.n_atoms);
    std::iota(order_.begin(), order_.end(), 0);
    side_.resize(input.n_atoms);
    result_.owner.assign(input.n_atoms, 0);
    mean_ = std::accumulate(input.weights, input.weights + input.n_atoms, 0.0) / n_partitions;
  }

  PlaneCuts slabs(int axis) {
    const Piece all{0, input_.n_atoms, 0, n_partitions_};
    Scratch scratch;
    count_layers(all, axis, scratch.layers);
    double& touched = result_.touched[axis];
    result_.n_cuts[axis] = n_partitions_ - 1;
    for (int32_t k = 1; k < n_partitions_; ++k)
      touched += add_cut(scratch, k * mean_, (most_imbalance - 1) / 2 * mean_);
    if (axes_[axis].is_a_ring) touched += scratch.layers.touched_at_ends();
    find_sides(all, axis, scratch);
    result_.owner.swap(side_);
    return std::move(result_);
  }

  PlaneCuts bisections(int whole_axis) {
    whole_axis_ = whole_axis;
    std::vector<Piece> pieces{{0, input_.n_atoms, 0, n_partitions_}};
    const int wanted = input_.n_threads > 0 ? input_.n_threads : available_threads();
    const auto n_threads = static_cast<int>(std::min<int64_t>(wanted, 1 + input_.n_atoms / atoms_per_thread));
    std::vector<Scratch> scratch(n_threads);
    beyond_.resize(input_.n_atoms);
    while (!pieces.empty()) {
      std::vector<std::array<Piece, 2>> halves(pieces.size());
      std::vector<std::pair<int, double>> touched(pieces.size());
      parallel_for(static_cast<int64_t>(pieces.size()), n_threads, [&](int64_t k, int thread) {
        halves[k] = cut_in_two(pieces[k], scratch[thread], touched[k]);
      });
      for (const auto& [axis, count] : touched) {
        result_.touched[axis] += count;
        ++result_.n_cuts[axis];
      }
      pieces.clear();
      for (const auto& both : halves) {
        for (const Piece& half : both)
          if (half.count > 1 && half.begin < half.end) pieces.push_back(half);
      }
    }
    return std::move(result_);
  }

 private:
  float place(int64_t index, int axis) const {
    const int32_t atom = order_[index];
    return axes_[axis].place(input_.x[atom], input_.y[atom], input_.z[atom]);
  }

  PlaceRange range(const Piece& piece, int axis) const {
    PlaceRange range;
    const int64_t stride = 1 + (piece.end - piece.begin) / atoms_for_extent;
    for (int64_t index = piece.begin; index < piece.end; index += stride) range.include(place(index, axis));
    return range;
  }

  bool opens_ring(const Piece& piece, int axis) const {
    return axes_[axis].is_a_ring && !piece.was_cut[axis];
  }

  int axis_to_cut(const Piece& piece) const {
    int best = whole_axis_ == 0 ? 1 : 0;
    double longest = -1;
    for (int axis = 0; axis < 3; ++axis) {
      if (axis == whole_axis_) continue;
      double length = range(piece, axis).extent();
      if (opens_ring(piece, axis)) length /= 2 * whole_ring_preference;
      if (length > longest) best = axis;
      longest = std::max(length, longest);
    }
    return best;
  }

  void count_layers(const Piece& piece, int axis, Layers& layers) {
    layers.reset_for(range(piece, axis), piece.end - piece.begin, input_.cutoff);
    for (int64_t index = piece.begin; index < piece.end; ++index) {
      side_[index] = layers.layer_of(place(index, axis));
      layers.add(side_[index], input_.weights[order_[index]], index & 1);
    }
    layers.finish();
  }

  /// Cuts at an edge near the target, or at the target. Returns how many atoms are touched.
  static double add_cut(Scratch& scratch, double target, double slack) {
    const Layers& layers = scratch.layers;
    int32_t edge = layers.best_edge(target, slack);
    scratch.cuts.push_back(edge < 0 ? target : layers.weight_before(edge));
    if (edge < 0) edge = layers.edge_before(target);
    return layers.touched(edge);
  }

  /// Replaces the layer of every atom by the number of cuts before the atom.
  void find_sides(const Piece& piece, int axis, Scratch& scratch) {
    const auto& [layers, cuts, side_of_layer, split] = scratch;
    scratch.side_of_layer.resize(layers.size());
    size_t side = 0;
    for (int32_t layer = 0; layer < layers.size(); ++layer) {
      while (side < cuts.size() && cuts[side] <= layers.weight_before(layer)) ++side;
      const bool is_split = side < cuts.size() && cuts[side] < layers.weight_before(layer + 1);
      scratch.side_of_layer[layer] = is_split ? -1 : static_cast<int32_t>(side);
    }
    scratch.split.clear();
    for (int64_t index = piece.begin; index < piece.end; ++index) {
      const int32_t layer = side_[index];
      side_[index] = side_of_layer[layer];
      if (side_[index] < 0) scratch.split.push_back({layer, place(index, axis), index});
    }
    std::sort(scratch.split.begin(), scratch.split.end());
    side = 0;
    int32_t layer = -1;
    double before = 0;
    for (const auto& atom : split) {
      if (atom.layer != layer) before = layers.weight_before(atom.layer);
      layer = atom.layer;
      const double weight = input_.weights[order_[atom.index]];
      while (side < cuts.size() && cuts[side] < before + weight / 2) ++side;
      side_[atom.index] = static_cast<int32_t>(side);
      before += weight;
    }
  }

  std::array<Piece, 2> cut_in_two(const Piece& piece, Scratch& scratch, std::pair<int, double>& touched) {
    const int axis = axis_to_cut(piece);
    count_layers(piece, axis, scratch.layers);
    const double total = scratch.layers.weight_before(scratch.layers.size());
    const int32_t n_left = piece.count / 2;
    const double target = total * n_left / piece.count;
    // What is left of the budget, shared with the cuts to come.
    const double budget = total > 0 ? most_imbalance * mean_ * piece.count / total - 1 : 0;
    const double slack = std::clamp(budget / std::bit_width(piece.count - 1u), 0.0, most_slack) *
                         std::min(target, total - target);
    scratch.cuts.clear();
    touched = {axis, add_cut(scratch, target, slack)};
    if (opens_ring(piece, axis)) touched.second += scratch.layers.touched_at_ends();
    find_sides(piece, axis, scratch);
    const int64_t middle = move_left_first(piece);
    Piece left{piece.begin, middle, piece.first, n_left, piece.was_cut};
    left.was_cut[axis] = true;
    const Piece right{middle, piece.end, piece.first + n_left, piece.count - n_left, left.was_cut};
    for (const Piece& half : {left, right})
      for (int64_t index = half.begin; half.count == 1 && index < half.end; ++index)
        result_.owner[order_[index]] = half.first;
    return {left, right};
  }

  /// Both sides stay in their order. Returns where the right one begins.
  int64_t move_left_first(const Piece& piece) {
    int64_t left = piece.begin, right = piece.begin;
    for (int64_t index = piece.begin; index < piece.end; ++index) {
      const int32_t atom = order_[index];
      const bool is_right = side_[index] > 0;
      beyond_[right] = atom;
      order_[left] = atom;
      right += is_right;
      left += !is_right;
    }
    std::copy(beyond_.begin() + piece.begin, beyond_.begin() + right, order_.begin() + left);
    return left;
  }

  const Input& input_;
  const CutAxes& axes_;
  int32_t n_partitions_;
  int whole_axis_ = -1;
  double mean_;             // weight of a partition
  Buffer<int32_t> order_;   // atoms, piece after piece
  Buffer<int32_t> side_;    // of each index: its layer, then the number of cuts before it
  Buffer<int32_t> beyond_;  // scratch: atoms on the right
  PlaneCuts result_;
};

}  // namespace

double PlaneCuts::estimated_halo() const {
  const auto n_atoms = static_cast<double>(owner.size());
  const auto& [a, b, c] = touched;
  return a + b + c + std::numbers::pi / 4 * (a * b + b * c + c * a) / n_atoms +
         std::numbers::pi / 6 * a * b * c / (n_atoms * n_atoms);
}

PlaneCuts cut_slabs(const Input& input, const CutAxes& axes, int32_t n_partitions, int axis) {
  return Cutter(input, axes, n_partitions).slabs(axis);
}

PlaneCuts bisect(const Input& input, const CutAxes& axes, int32_t n_partitions, int whole_axis) {
  return Cutter(input, axes, n_partitions).bisections(whole_axis);
}

}  // namespace distmlip::cut
