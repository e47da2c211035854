#include "graph/wrapping.h"

#include <cmath>

#include "core/error.h"

namespace distmlip::graph {
namespace {

constexpr double farthest = 1e9;  // Å, and cells: further out float64 no longer resolves a cutoff usefully

}  // namespace

std::vector<int32_t> wrap_counts(const Cell& cell, const double* positions, int64_t n_atoms) {
  const auto rows = inverse(completed(cell));
  std::vector<int32_t> wrap(3 * n_atoms);
  for (int64_t atom = 0; atom < n_atoms; ++atom) {
    const Vec3 position{positions[3 * atom], positions[3 * atom + 1], positions[3 * atom + 2]};
    for (int k = 0; k < 3; ++k) {
      if (!(std::abs(position[k]) <= farthest)) {
        invalid("atom ", atom, " is at (", position[0], ", ", position[1], ", ", position[2],
                ") Å; coordinates must be finite and at most ", farthest,
                " Å from the origin: check where the structure comes from");
      }
    }
    for (int axis = 0; axis < 3; ++axis) {
      if (!cell.periodic[axis]) continue;
      const double cells = std::floor(dot(rows[axis], position));
      if (!(std::abs(cells) <= farthest)) {
        invalid("atom ", atom, " is ", cells, " cells away from the origin; at most ", farthest,
                " are supported: wrap the atoms into the cell");
      }
      wrap[3 * atom + axis] = static_cast<int32_t>(cells);
    }
  }
  return wrap;
}

void subtract_wrap(const Cell& cell, const int32_t* wrap, const double* positions, int64_t n_atoms,
                   double* wrapped) {
  for (int64_t atom = 0; atom < n_atoms; ++atom) {
    const Vec3 whole_cells = shift_vector(cell, wrap + 3 * atom);
    for (int k = 0; k < 3; ++k) wrapped[3 * atom + k] = positions[3 * atom + k] - whole_cells[k];
  }
}

}  // namespace distmlip::graph
