#include "partition/cut.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "partition/layers.h"
#include "partition/plane_cuts.h"
#include "partition/relaxation.h"
#include "partition/sample.h"

namespace distmlip::partition {
namespace {

/// With more slabs than this times the ratio of the two longest extents, bisection has smaller borders.
constexpr double most_slabs_per_ratio = 4;

constexpr int64_t smallest_sample = 1024;
constexpr int64_t sample_per_partition = 128;

/// Cells are made rounder if they are neither too many nor too small for it to work.
constexpr int32_t most_rounded = 1024;
constexpr int64_t fewest_atoms_rounded = sample_per_partition;
constexpr double accepted_imbalance = 1.03;

constexpr int most_reductions = 100;

/// Partitions that are larger than the system is thick are better columns, those a good deal smaller are not;
/// in between both are tried.
constexpr double columns_up_to = 2.25;
constexpr double columns_below = 1;

/// The same lattice with shorter vectors, nearly orthogonal: what is cut along them is compact.
Cell reduced(Cell cell) {
  bool changed = true;
  for (int round = 0; changed && round < most_reductions; ++round) {
    changed = false;
    for (int i = 0; i < 3; ++i) {
      for (int j = 0; j < 3; ++j) {
        if (i == j || !cell.periodic[i] || !cell.periodic[j]) continue;
        const Vec3 a = cell.row(i), b = cell.row(j);
        const double times = std::round(dot(a, b) / dot(b, b));
        if (times == 0) continue;
        for (int k = 0; k < 3; ++k) cell.vectors[3 * i + k] -= times * b[k];
        changed = true;
      }
    }
  }
  return cell;
}

/// What bisection can do best.
struct Plan {
  int whole_axis = -1;  // for planes
  double planes_halo = std::numeric_limits<double>::infinity();
  double cells_halo = std::numeric_limits<double>::infinity();
  std::optional<Relaxation> cells;
};

class Chooser {
 public:
  Chooser(const CutInput& input, int32_t n_partitions)
      : input_(input),
        n_partitions_(n_partitions),
        sample_(input, std::max(smallest_sample,
                                std::min<int64_t>(n_partitions, most_rounded) * sample_per_partition)),
        axes_(cut_axes(sample_.view(input))) {
    for (int axis = 0; axis < 3; ++axis) unwrap(axis);
    const auto lengths = occupied_lengths(sample_.view(input), axes_);
    by_length_ = {0, 1, 2};
    std::sort(by_length_.begin(), by_length_.end(), [&](int a, int b) { return lengths[a] < lengths[b]; });
    for (int k = 0; k < 3; ++k) lengths_[k] = lengths[by_length_[k]];
  }

  Cut slabs() const { return {cut_slabs(input_, axes_, n_partitions_, by_length_[2]).owner, Method::slab}; }

  Cut automatic() {
    const CutInput some = sample_.view(input_);
    make_plan();
    if (n_partitions_ * lengths_[1] <= most_slabs_per_ratio * lengths_[2]) {
      const double halo = cut_slabs(some, axes_, n_partitions_, by_length_[2]).estimated_halo();
      if (halo <= plan_.planes_halo) return slabs();
    }
    return bisection();
  }

  Cut bisection() {
    make_plan();
    if (plan_.cells && plan_.cells_halo < plan_.planes_halo) {
      auto owners = plan_.cells->assign();
      if (owners.imbalance <= accepted_imbalance) return {std::move(owners.owner), Method::bisection};
    }
    return {bisect(input_, axes_, n_partitions_, plan_.whole_axis).owner, Method::bisection};
  }

 private:
  /// Moves atoms by cell vectors to where the axis starts.
  void unwrap(int axis) {
    const Vec3 row = input_.cell.row(axis);
    for (int64_t k = 0; k < sample_.size(); ++k) {
      const int turns = axes_[axis].turns(sample_.x[k], sample_.y[k], sample_.z[k]);
      sample_.x[k] -= static_cast<float>(turns * row[0]);
      sample_.y[k] -= static_cast<float>(turns * row[1]);
      sample_.z[k] -= static_cast<float>(turns * row[2]);
    }
  }

  void make_plan() {
    if (plan_made_) return;
    plan_made_ = true;
    const double size = std::cbrt(lengths_[0] * lengths_[1] * lengths_[2] / n_partitions_);
    if (lengths_[0] <= columns_up_to * size) consider(by_length_[0]);
    if (lengths_[0] > columns_below * size) consider(-1);
  }

  void consider(int whole_axis) {
    const CutInput some = sample_.view(input_);
    const PlaneCuts planes = bisect(some, axes_, n_partitions_, whole_axis);
    if (planes.estimated_halo() < plan_.planes_halo) {
      plan_.planes_halo = planes.estimated_halo();
      plan_.whole_axis = whole_axis;
    }
      if (n_partitions_ > most_rounded || input_.n_atoms / n_partitions_ < fewest_atoms_rounded) return;
    Relaxation cells(input_, sample_, planes.owner, n_partitions_, whole_axis);
    const double halo = cells.estimated_halo();
    if (halo >= plan_.cells_halo) return;
    plan_.cells_halo = halo;
    plan_.cells.emplace(std::move(cells));
  }

  const CutInput& input_;
  int32_t n_partitions_;
  Sample sample_;
  CutAxes axes_;
  std::array<int, 3> by_length_;     // axes, shortest first
  std::array<double, 3> lengths_{};  // their lengths, Å
  Plan plan_;
  bool plan_made_ = false;
};

}  // namespace

Cut cut(const CutInput& input, int32_t n_partitions, Method method) {
  if (n_partitions == 1 || input.n_atoms == 0) {
    return {Buffer<int32_t>(input.n_atoms, 0), method == Method::bisection ? method : Method::slab};
  }
  const Cell cell = reduced(input.cell);
  Buffer<float> equal;
  CutInput todo{cell, input.n_atoms, input.x, input.y, input.z, input.weights, input.cutoff, input.n_threads};
  if (std::all_of(input.weights, input.weights + input.n_atoms, [](float weight) { return weight == 0; })) {
    equal.assign(input.n_atoms, 1.0f);
    todo.weights = equal.data();
  }
  Chooser chooser(todo, n_partitions);
  if (method == Method::slab) return chooser.slabs();
  if (method == Method::bisection) return chooser.bisection();
  return chooser.automatic();
}

}  // namespace distmlip::partition
