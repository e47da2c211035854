#include "cut/relaxation.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "core/thread_pool.h"

namespace distmlip::cut {
namespace {

constexpr int n_rounds = 12;           // in which the sample settles
constexpr int n_balancing_rounds = 3;  // the last of them: centres stand still
constexpr int rounds_per_search = 4;   // of neighbours

/// Centres move further than to the middle of their cells: they arrive sooner.
constexpr double overshoot = 1.5;

/// Answer of a bias to missing weight, in squared distances of the nearest centre; a smaller one takes
/// longer, a larger one swings.
constexpr double bias_per_weight = 0.3;
constexpr double most_missing = 0.5;

/// Atoms this near to a border can still change sides when biases adapt to the exact weights; in distances of
/// the nearest centre.
constexpr float border_width = 0.025f;
constexpr int most_corrections = 5;
constexpr int most_attempts = 4;
/// Less than a border's width, all corrections together.
constexpr double most_missing_in_correction = 0.04;
constexpr double best_imbalance = 1.01;
constexpr double good_imbalance = 1.02;

constexpr int most_passes = 100;
constexpr size_t most_points_in_estimate = 2048;
constexpr int64_t points_per_task = 8192;

/// A unit vector along an axis that is not to be cut.
PowerCells::Vector direction(const Cell& cell, int axis) {
  if (axis < 0) return {};
  const Vec3 row = completed(cell).row(axis);
  const double length = norm(row);
  return {static_cast<float>(row[0] / length), static_cast<float>(row[1] / length),
          static_cast<float>(row[2] / length)};
}

/// The cell as seen along an axis.
Cell flattened(Cell cell, int axis) {
  if (axis < 0) return cell;
  const Vec3 row = completed(cell).row(axis);
  const Vec3 along = scaled(row, 1 / norm(row));
  for (int k = 0; k < 3; ++k) {
    const double length = dot(cell.row(k), along);
    for (int c = 0; c < 3; ++c) cell.vectors[3 * k + c] -= length * along[c];
  }
  cell.periodic[axis] = false;
  return cell;
}

}  // namespace

Relaxation::Relaxation(const Input& input, const Sample& sample, const Buffer<int32_t>& owner,
                       int32_t n_partitions, int whole_axis)
    : input_(input),
      stride_(sample.stride),
      whole_(direction(input.cell, whole_axis)),
      cells_(flattened(input.cell, whole_axis), start(sample, owner, n_partitions)) {
  for (int round = 0; round < n_rounds; ++round) {
    if (round % rounds_per_search == 0) cells_.find_neighbours(input_.n_threads);
    settle(sample_);
    if (round + n_balancing_rounds < n_rounds) move_centres();
    if (round + 1 < n_rounds) balance(weights_of(sample_), most_missing);
  }
}

/// Fills sample_ and returns the centres.
std::vector<Vec3> Relaxation::start(const Sample& sample, const Buffer<int32_t>& owner,
                                    int32_t n_partitions) {
  for (int64_t k = 0; k < sample.size(); ++k) {
    const PowerCells::Vector place = flat({sample.x[k], sample.y[k], sample.z[k]});
    sample_.push_back({place, owner[k], sample.atom[k], sample.weights[k]});
  }
  const std::vector<Vec3> centres = middles(n_partitions);
  shift_points(centres);
  return centres;
}

PowerCells::Vector Relaxation::flat(const PowerCells::Vector& v) const {
  const auto& [a, b, c] = whole_;
  const float along = v[0] * a + v[1] * b + v[2] * c;
  return {v[0] - along * a, v[1] - along * b, v[2] - along * c};
}

/// Weighted mean of the points of each cell, from where they are seen.
std::vector<Vec3> Relaxation::middles(int32_t n_cells) const {
  std::vector<Vec3> sums(n_cells);
  std::vector<double> weights(n_cells);
  for (const Point& point : sample_) {
    const double weight = point.weight;
    for (int k = 0; k < 3; ++k) sums[point.cell][k] += weight * point.from_centre[k];
    weights[point.cell] += weight;
  }
  for (int32_t cell = 0; cell < n_cells; ++cell)
    if (weights[cell] > 0) sums[cell] = scaled(sums[cell], 1 / weights[cell]);
  return sums;
}

void Relaxation::move_centres() {
  std::vector<Vec3> moves = middles(cells_.size());
  for (Vec3& move : moves) move = scaled(move, overshoot);
  cells_.move(moves);
  shift_points(moves);
}

void Relaxation::shift_points(const std::vector<Vec3>& moves) {
  for (Point& point : sample_)
    for (int k = 0; k < 3; ++k) point.from_centre[k] -= static_cast<float>(moves[point.cell][k]);
}

void Relaxation::settle(std::vector<Point>& points) const {
  const auto n_points = static_cast<int64_t>(points.size());
  parallel_for((n_points + points_per_task - 1) / points_per_task, input_.n_threads, [&](int64_t task, int) {
    const int64_t end = std::min(n_points, (task + 1) * points_per_task);
    for (int64_t k = task * points_per_task; k < end; ++k) cells_.settle(points[k]);
  });
}

std::vector<double> Relaxation::weights_of(const std::vector<Point>& points) const {
  std::vector<double> weights(cells_.size());
  for (const Point& point : points) weights[point.cell] += point.weight;
  return weights;
}

void Relaxation::balance(const std::vector<double>& weights, double most) {
  const double mean = std::accumulate(weights.begin(), weights.end(), 0.0) / cells_.size();
  std::vector<double> changes(weights.size());
  for (int32_t cell = 0; cell < cells_.size(); ++cell) {
    const double missing = std::clamp(1 - weights[cell] / mean, -most, most);
    const double scale = cells_.nearest_centre(cell);
    changes[cell] = std::isfinite(scale) ? bias_per_weight * scale * scale * missing : 0;
  }
  cells_.change_biases(changes);
}

double Relaxation::estimated_halo() const {
  const size_t step = 1 + sample_.size() / most_points_in_estimate;
  double count = 0, n_points = 0;
  for (size_t k = 0; k < sample_.size(); k += step) {
    count += cells_.cells_within(static_cast<float>(input_.cutoff), sample_[k]);
    ++n_points;
  }
  return count / n_points * static_cast<double>(sample_.size());
}

/// Atoms [begin, end) as seen from the centre of a point among them or near them.
PowerCells::Places Relaxation::places_from(const Point& seen, int64_t begin, int64_t end) const {
  PowerCells::Places places;
  places.n = static_cast<int>(end - begin);
  const auto& [a, b, c] = whole_;
  const float x = input_.x[seen.atom], y = input_.y[seen.atom], z = input_.z[seen.atom];
  for (int k = 0; k < places.n; ++k) {
    const float dx = input_.x[begin + k] - x, dy = input_.y[begin + k] - y, dz = input_.z[begin + k] - z;
    const float along = dx * a + dy * b + dz * c;
    places.x[k] = seen.from_centre[0] + (dx - along * a);
    places.y[k] = seen.from_centre[1] + (dy - along * b);
    places.z[k] = seen.from_centre[2] + (dz - along * c);
  }
  return places;
}

/// Fills owner[begin, end), at most PowerCells::Places::most atoms, and appends those near borders. They are
/// looked at from the cell of `seen` first, those outside then from the cell of the first of them, and so on;
/// `seen` ends as an atom of the last cell.
void Relaxation::settle_run(int64_t begin, int64_t end, const std::vector<float>& widths, Point& seen,
                            int32_t* owner, std::vector<Point>& near_border) const {
  PowerCells::Places places = places_from(seen, begin, end);
  auto& [n, x, y, z] = places;
  std::array<float, PowerCells::Places::most> beyond;
  std::array<int32_t, PowerCells::Places::most> atom;
  std::iota(atom.begin(), atom.begin() + n, static_cast<int32_t>(begin));
  for (int pass = 0;; ++pass) {
    const float width = widths[seen.cell];
    cells_.beyond_borders(places, seen.cell, width, beyond);
    int n_outside = 0;
    for (int k = 0; k < n; ++k) {
      owner[atom[k]] = seen.cell;
      if (beyond[k] > -width && beyond[k] <= PowerCells::tolerance)
        near_border.push_back({{x[k], y[k], z[k]}, seen.cell, atom[k], input_.weights[atom[k]]});
      atom[n_outside] = atom[k];
      x[n_outside] = x[k];
      y[n_outside] = y[k];
      z[n_outside] = z[k];
      n_outside += beyond[k] > PowerCells::tolerance;
    }
    n = n_outside;
    if (n == 0 || pass == most_passes) return;
    seen = {{x[0], y[0], z[0]}, seen.cell, atom[0], 0};
    cells_.settle(seen);
    const auto& [sx, sy, sz] = seen.from_centre;
    const float dx = x[0] - sx, dy = y[0] - sy, dz = z[0] - sz;
    for (int k = 0; k < n; ++k) {
      x[k] -= dx;
      y[k] -= dy;
      z[k] -= dz;
    }
    x[0] = sx;
    y[0] = sy;
    z[0] = sz;
  }
}

/// Fills owner; returns the atoms that are near borders.
std::vector<Relaxation::Point> Relaxation::settle_all(Buffer<int32_t>& owner) const {
  std::vector<float> widths;
  widths.reserve(cells_.size());
  for (int32_t cell = 0; cell < cells_.size(); ++cell)
    widths.push_back(border_width * cells_.nearest_centre(cell));
  const auto n_sample = static_cast<int64_t>(sample_.size());
  const int64_t per_task = 1 + points_per_task / stride_;
  std::vector<std::vector<Point>> near_border((n_sample + per_task - 1) / per_task);
  parallel_for(static_cast<int64_t>(near_border.size()), input_.n_threads, [&](int64_t task, int) {
    const int64_t task_end = std::min(n_sample, (task + 1) * per_task);
    for (int64_t k = task * per_task; k < task_end; ++k) {
      Point seen = sample_[k];
      const int64_t end = k + 1 == n_sample ? input_.n_atoms : (k + 1) * stride_;
      for (int64_t begin = k * stride_; begin < end; begin += PowerCells::Places::most) {
        settle_run(begin, std::min<int64_t>(end, begin + PowerCells::Places::most), widths, seen,
                   owner.data(), near_border[task]);
      }
    }
  });
  std::vector<Point> all;
  for (const auto& points : near_border) all.insert(all.end(), points.begin(), points.end());
  return all;
}

Relaxation::Owners Relaxation::assign() {
  Owners result{Buffer<int32_t>(input_.n_atoms), 0};
  for (int attempt = 0; attempt < most_attempts; ++attempt) {
    cells_.sort_planes();
    std::vector<Point> border = settle_all(result.owner);
    result.imbalance = balance_exactly(result.owner, border);
    for (const Point& point : border) result.owner[point.atom] = point.cell;
    if (result.imbalance <= good_imbalance) break;
  }
  return result;
}

/// Adapts biases and lets the atoms near borders settle, the others being where they are. Returns the
/// imbalance.
double Relaxation::balance_exactly(const Buffer<int32_t>& owner, std::vector<Point>& border) {
  std::vector<double> fixed(cells_.size());
  for (int64_t atom = 0; atom < input_.n_atoms; ++atom) fixed[owner[atom]] += input_.weights[atom];
  const double mean = std::accumulate(fixed.begin(), fixed.end(), 0.0) / cells_.size();
  for (const Point& point : border) fixed[point.cell] -= point.weight;
  for (int round = 0;; ++round) {
    std::vector<double> weights = weights_of(border);
    for (size_t cell = 0; cell < weights.size(); ++cell) weights[cell] += fixed[cell];
    const double imbalance = *std::max_element(weights.begin(), weights.end()) / mean;
    if (imbalance <= best_imbalance || round == most_corrections) return imbalance;
    balance(weights, most_missing_in_correction);
    settle(border);
  }
}

}  // namespace distmlip::cut
