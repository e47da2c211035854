#include "cut/power_cells.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "core/thread_pool.h"

namespace distmlip::cut {
namespace {

constexpr int most_steps = 100;  // of one point from cell to cell
constexpr int64_t cells_per_task = 64;
constexpr float infinity = std::numeric_limits<float>::infinity();

/// The nearest of many centres, as seen from one of them.
class Nearest {
 public:
  struct Neighbour {
    double squared;
    int32_t cell;
    Vec3 vector;
    bool operator<(const Neighbour& other) const {
      return std::pair(squared, cell) < std::pair(other.squared, other.cell);
    }
  };

  explicit Nearest(size_t most) : most_(most) {}

  double reach() const { return reach_; }
  const std::vector<Neighbour>& found() const { return heap_; }

  void add(int32_t cell, const Vec3& vector) {
    const Neighbour neighbour{dot(vector, vector), cell, vector};
    // A centre is not its own neighbour, and there is no plane between two centres at the same place.
    if (neighbour.squared <= 0) return;
    heap_.push_back(neighbour);
    std::push_heap(heap_.begin(), heap_.end());
    if (heap_.size() > most_) {
      std::pop_heap(heap_.begin(), heap_.end());
      heap_.pop_back();
    }
    if (heap_.size() == most_) reach_ = std::sqrt(heap_.front().squared);
  }

 private:
  size_t most_;
  double reach_ = std::numeric_limits<double>::infinity();
  std::vector<Neighbour> heap_;
};

/// Visits the periodic images of centres.
class Lattice {
 public:
  explicit Lattice(const Cell& cell)
      : cell_(completed(cell)), inverse_(inverse(cell_)), heights_(perpendicular_heights(cell_)) {}

  /// Fractional coordinates; those along periodic axes are in [0, 1).
  Vec3 fractional(const Vec3& place) const {
    Vec3 result;
    for (int k = 0; k < 3; ++k) {
      result[k] = dot(inverse_[k], place);
      if (cell_.periodic[k]) result[k] -= std::floor(result[k]);
    }
    return result;
  }

  /// Adds all images that are not further along any axis than the cell is high. `difference` of two
  /// fractional coordinates.
  void add_images(int32_t cell, const Vec3& difference, Nearest& nearest, int axis = 0,
                  Vec3 vector = {}) const {
    if (axis == 3) {
      nearest.add(cell, vector);
      return;
    }
    const int images = cell_.periodic[axis] ? 1 : 0;
    for (int shift = -images; shift <= images; ++shift) {
      const double along = difference[axis] + shift;
      if (images > 0 && std::abs(along) > 1) continue;
      if (std::abs(along) * heights_[axis] > nearest.reach()) continue;
      const Vec3 row = cell_.row(axis);
      add_images(cell, difference, nearest, axis + 1,
                 {vector[0] + along * row[0], vector[1] + along * row[1], vector[2] + along * row[2]});
    }
  }

 private:
  Cell cell_;
  std::array<Vec3, 3> inverse_;
  Vec3 heights_;
};

}  // namespace

PowerCells::PowerCells(const Cell& cell, std::vector<Vec3> centres)
    : cell_(cell), centres_(std::move(centres)), biases_(centres_.size(), 0.0), planes_(centres_.size()) {}

void PowerCells::Planes::set_normal(int plane, const Vec3& to_neighbour) {
  const double to = norm(to_neighbour);
  x[plane] = static_cast<float>(to_neighbour[0] / to);
  y[plane] = static_cast<float>(to_neighbour[1] / to);
  z[plane] = static_cast<float>(to_neighbour[2] / to);
  length[plane] = static_cast<float>(to);
}

float PowerCells::Planes::beyond_any(const Vector& place) const {
  // Loops of fixed length over arrays, also for the maximum: compilers make vector instructions of them.
  const auto [px, py, pz] = place;
  float most[count];
  for (int k = 0; k < count; ++k) most[k] = px * x[k] + py * y[k] + pz * z[k] - distance[k];
  for (int k = 0; k < count / 2; ++k) most[k] = std::max(most[k], most[k + count / 2]);
  for (int k = 0; k < count / 6; ++k) most[k] = std::max(most[k], most[k + count / 6]);
  for (int k = 0; k < count / 6; ++k) most[k] = std::max(most[k], most[k + count / 3]);
  return std::max(std::max(most[0], most[1]), std::max(most[2], most[3]));
}

void PowerCells::find_neighbours(int n_threads) {
  const Lattice lattice(cell_);
  std::vector<Vec3> fractional;
  fractional.reserve(centres_.size());
  for (const Vec3& centre : centres_) fractional.push_back(lattice.fractional(centre));
  parallel_for((size() + cells_per_task - 1) / cells_per_task, n_threads, [&](int64_t task, int) {
    const auto end = static_cast<int32_t>(std::min<int64_t>(size(), (task + 1) * cells_per_task));
    for (auto cell = static_cast<int32_t>(task * cells_per_task); cell < end; ++cell) {
      Nearest nearest(Planes::count);
      const Vec3& here = fractional[cell];
      for (int32_t other = 0; other < size(); ++other) {
        const Vec3& there = fractional[other];
        lattice.add_images(other, {there[0] - here[0], there[1] - here[1], there[2] - here[2]}, nearest);
      }
      Planes& planes = planes_[cell];
      for (int k = 0; k < Planes::count; ++k) {
        const bool exists = k < static_cast<int>(nearest.found().size());
        planes.set_normal(k, exists ? nearest.found()[k].vector : Vec3{1, 0, 0});
        planes.neighbour[k] = exists ? nearest.found()[k].cell : cell;
        if (!exists) planes.length[k] = infinity;
      }
      update_distances(cell);
    }
  });
}

void PowerCells::update_distances(int32_t cell) {
  Planes& planes = planes_[cell];
  for (int k = 0; k < Planes::count; ++k) {
    const auto more = static_cast<float>(biases_[cell] - biases_[planes.neighbour[k]]);
    planes.distance[k] = (planes.length[k] + more / planes.length[k]) / 2;
  }
}

void PowerCells::move(const std::vector<Vec3>& moves) {
  for (int32_t cell = 0; cell < size(); ++cell) {
    Planes& planes = planes_[cell];
    const Vec3& here = moves[cell];
    for (int k = 0; k < 3; ++k) centres_[cell][k] += here[k];
    for (int k = 0; k < Planes::count; ++k) {
      const double length = planes.length[k];
      if (std::isinf(length)) continue;
      const Vec3& there = moves[planes.neighbour[k]];
      planes.set_normal(k,
                        {planes.x[k] * length + there[0] - here[0], planes.y[k] * length + there[1] - here[1],
                         planes.z[k] * length + there[2] - here[2]});
    }
    update_distances(cell);
  }
}

void PowerCells::change_biases(const std::vector<double>& changes) {
  for (int32_t cell = 0; cell < size(); ++cell) biases_[cell] += changes[cell];
  for (int32_t cell = 0; cell < size(); ++cell) update_distances(cell);
}

void PowerCells::sort_planes() {
  for (Planes& planes : planes_) {
    const Planes old = planes;
    std::array<int, Planes::count> order;
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(),
              [&](int a, int b) { return std::pair(old.distance[a], a) < std::pair(old.distance[b], b); });
    for (int k = 0; k < Planes::count; ++k) {
      planes.x[k] = old.x[order[k]];
      planes.y[k] = old.y[order[k]];
      planes.z[k] = old.z[order[k]];
      planes.distance[k] = old.distance[order[k]];
      planes.length[k] = old.length[order[k]];
      planes.neighbour[k] = old.neighbour[order[k]];
    }
  }
}

float PowerCells::nearest_centre(int32_t cell) const {
  return *std::min_element(planes_[cell].length.begin(), planes_[cell].length.end());
}

void PowerCells::settle(Point& point) const {
  for (int step = 0; step < most_steps; ++step) {
    const Planes& planes = planes_[point.cell];
    const float most = planes.beyond_any(point.from_centre);
    if (most <= tolerance) return;
    int plane = 0;
    while (plane + 1 < Planes::count && planes.beyond(plane, point.from_centre) < most) ++plane;
    point.from_centre[0] -= planes.x[plane] * planes.length[plane];
    point.from_centre[1] -= planes.y[plane] * planes.length[plane];
    point.from_centre[2] -= planes.z[plane] * planes.length[plane];
    point.cell = planes.neighbour[plane];
  }
}

void PowerCells::beyond_borders(const Places& places, int32_t cell, float width,
                                std::array<float, Places::most>& beyond) const {
  const Planes& planes = planes_[cell];
  const auto& [n, x, y, z] = places;
  float farthest = 0;
  for (int k = 0; k < n; ++k) {
    farthest = std::max(farthest, x[k] * x[k] + y[k] * y[k] + z[k] * z[k]);
    beyond[k] = -infinity;
  }
  const float radius = std::sqrt(farthest) + width;
  for (int plane = 0; plane < Planes::count && planes.distance[plane] < radius; ++plane) {
    const float px = planes.x[plane], py = planes.y[plane], pz = planes.z[plane],
                distance = planes.distance[plane];
    for (int k = 0; k < n; ++k) beyond[k] = std::max(beyond[k], x[k] * px + y[k] * py + z[k] * pz - distance);
  }
}

int PowerCells::cells_within(float reach, const Point& point) const {
  const Planes& planes = planes_[point.cell];
  if (planes.beyond_any(point.from_centre) <= -reach) return 0;
  int count = 0;
  for (int k = 0; k < Planes::count; ++k) {
    const float away = -planes.beyond(k, point.from_centre);
    if (away >= reach || planes.neighbour[k] == point.cell) continue;
    // Where the nearest place of the plane is beyond another plane, the neighbour is further away than its
    // plane: by how much can be told for planes at 120 degrees, as most are.
    const auto& [x, y, z] = point.from_centre;
    const Vector foot = {x + away * planes.x[k], y + away * planes.y[k], z + away * planes.z[k]};
    const float aside = std::max(0.0f, planes.beyond_any(foot));
    count += away * away + aside * aside / 0.75f < reach * reach;
  }
  return count;
}

}  // namespace distmlip::cut
