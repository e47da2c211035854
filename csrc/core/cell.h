// The periodic cell.
#pragma once

#include <array>
#include <cstdint>

#include "core/vec3.h"

namespace distmlip {

/// Cell vectors as rows, in Å. The vector of an axis that is not periodic has no meaning for neighbours.
struct Cell {
  std::array<double, 9> vectors{};
  std::array<bool, 3> periodic{};

  Vec3 row(int axis) const { return {vectors[3 * axis], vectors[3 * axis + 1], vectors[3 * axis + 2]}; }
  bool operator==(const Cell&) const = default;
};

/// The same cell with every non-periodic axis replaced by a unit vector orthogonal to the periodic ones.
/// Throws std::invalid_argument if the periodic vectors are not finite and independent.
Cell completed(const Cell& cell);

/// Volume of the parallelepiped, Å^3; zero if the vectors are dependent.
double volume(const Cell& cell);

/// Rows b_k with fractional_k = b_k · x. The cell must have a volume.
std::array<Vec3, 3> inverse(const Cell& cell);

/// Distance between the two faces that each vector connects. The cell must have a volume.
Vec3 perpendicular_heights(const Cell& cell);

/// shift · cell. The vector of −shift is the exact negative of the vector of shift.
inline Vec3 shift_vector(const Cell& cell, const int32_t* shift) {
  Vec3 vector;
  for (int axis = 0; axis < 3; ++axis) {
    vector[axis] = (shift[0] * cell.vectors[axis] + shift[1] * cell.vectors[3 + axis]) +
                   shift[2] * cell.vectors[6 + axis];
  }
  return vector;
}

}  // namespace distmlip
