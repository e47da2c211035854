#include "core/cell.h"

#include <cmath>
#include <vector>

#include "core/error.h"

namespace distmlip {
namespace {

/// Smaller ratios of volume to the product of lengths are rounding errors of dependent vectors.
constexpr double smallest_volume_ratio = 1e-10;

void set_row(Cell& cell, int axis, const Vec3& vector) {
  for (int k = 0; k < 3; ++k) cell.vectors[3 * axis + k] = vector[k];
}

/// A unit vector orthogonal to `a`.
Vec3 any_orthogonal(const Vec3& a) {
  int smallest = 0;
  for (int k = 1; k < 3; ++k)
    if (std::abs(a[k]) < std::abs(a[smallest])) smallest = k;
  Vec3 axis{};
  axis[smallest] = 1;
  const Vec3 orthogonal = cross(a, axis);
  return scaled(orthogonal, 1 / norm(orthogonal));
}

[[noreturn]] void refuse(double found) {
  invalid("the periodic cell vectors span a volume of ", found,
          " (relative to their lengths); periodic vectors must be finite and independent: "
          "set a cell, or switch off pbc along the axes that have none");
}

}  // namespace

Cell completed(const Cell& cell) {
  std::vector<int> periodic, open;
  for (int axis = 0; axis < 3; ++axis) (cell.periodic[axis] ? periodic : open).push_back(axis);
  Cell full = cell;
  double lengths = 1;
  for (int axis : periodic) {
    const double length = norm(cell.row(axis));
    if (!std::isfinite(length) || length <= 0) refuse(length);
    set_row(full, axis, scaled(cell.row(axis), 1 / length));
    lengths *= length;
  }
  if (open.size() == 3) {
    full.vectors = {1, 0, 0, 0, 1, 0, 0, 0, 1};
  } else if (open.size() == 2) {
    const Vec3 first = any_orthogonal(full.row(periodic[0]));
    set_row(full, open[0], first);
    set_row(full, open[1], cross(full.row(periodic[0]), first));
  } else if (open.size() == 1) {
    const Vec3 normal = cross(full.row(periodic[0]), full.row(periodic[1]));
    if (!(norm(normal) > smallest_volume_ratio)) refuse(norm(normal));
    set_row(full, open[0], scaled(normal, 1 / norm(normal)));
  }
  const double ratio = volume(full);
  if (!(ratio > smallest_volume_ratio) || !std::isfinite(lengths)) refuse(ratio);
  for (int axis : periodic) set_row(full, axis, cell.row(axis));
  return full;
}

double volume(const Cell& cell) { return std::abs(dot(cell.row(0), cross(cell.row(1), cell.row(2)))); }

std::array<Vec3, 3> inverse(const Cell& cell) {
  const double determinant = dot(cell.row(0), cross(cell.row(1), cell.row(2)));
  std::array<Vec3, 3> rows;
  for (int axis = 0; axis < 3; ++axis)
    rows[axis] = scaled(cross(cell.row((axis + 1) % 3), cell.row((axis + 2) % 3)), 1 / determinant);
  return rows;
}

Vec3 perpendicular_heights(const Cell& cell) {
  const auto rows = inverse(cell);
  return {1 / norm(rows[0]), 1 / norm(rows[1]), 1 / norm(rows[2])};
}

}  // namespace distmlip
