#include "partition/reuse.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "kernels/edge_geometry.h"
#include "partition/decomposition.h"

namespace distmlip::partition {
namespace {

/// x' = x · F, row by row; moved = what F adds to x.
class Deformation {
 public:
  Deformation(const Cell& before, const Cell& now) {
    const auto dual = inverse(completed(before));
    for (int axis = 0; axis < 3; ++axis) {
      if (!before.periodic[axis]) continue;
      for (int row = 0; row < 3; ++row)
        for (int k = 0; k < 3; ++k)
          change_[row][k] += dual[axis][row] * (now.vectors[3 * axis + k] - before.vectors[3 * axis + k]);
    }
  }

  double moved(const double* x, int k) const {
    return x[0] * change_[0][k] + x[1] * change_[1][k] + x[2] * change_[2][k];
  }

  /// At most the smallest |x · F| / |x|: by Gershgorin's circles from F·F^T, so rotations count for nothing.
  double least_stretch() const {
    std::array<Vec3, 3> rows = change_;
    for (int k = 0; k < 3; ++k) rows[k][k] += 1;
    double least = INFINITY;
    for (int i = 0; i < 3; ++i) {
      double others = 0;
      for (int j = 0; j < 3; ++j) others += i == j ? 0 : std::abs(dot(rows[i], rows[j]));
      least = std::min(least, dot(rows[i], rows[i]) - others);
    }
    return least > 0 ? std::sqrt(least) : 0;  // also if it is not a number
  }

 private:
  std::array<Vec3, 3> change_{};
};

/// By how much atoms may have approached each other without an edge that is no candidate, Å.
double allowance(const Decomposition& decomposition, double stretch) {
  const auto for_cutoff = [&](double cutoff) {
    return stretch * decomposition.skin - (1 - stretch) * cutoff;
  };
  const double edges = for_cutoff(decomposition.cutoff);
  return decomposition.has_bonds() ? std::min(edges, for_cutoff(decomposition.bond_cutoff)) : edges;
}

/// How much rounding may hide once the cell has changed, Å.
double rounding(const Decomposition& decomposition) {
  double largest = decomposition.cutoff + decomposition.skin;
  for (const double x : decomposition.reference) largest = std::max(largest, std::abs(x));
  return std::ldexp(largest, -46);
}

/// Whether no atom is further than `limit` from where the deformation takes its reference position.
template <class Deform>
bool all_near(const Decomposition& decomposition, const double* positions, double limit, Deform deform) {
  for (int64_t atom = 0; atom < decomposition.n_atoms; ++atom) {
    const double* before = decomposition.reference.data() + 3 * atom;
    double way[3];
    for (int k = 0; k < 3; ++k) way[k] = (positions[3 * atom + k] - before[k]) - deform(before, k);
    const double squared = kernels::squared_length(way[0], way[1], way[2]);
    if (!(squared <= limit * limit)) return false;  // also if it is not a number
  }
  return true;
}

/// Vectors of directions that are not periodic mean nothing.
bool same_for_neighbours(const Cell& a, const Cell& b) {
  for (int axis = 0; axis < 3; ++axis)
    if (a.periodic[axis] && a.row(axis) != b.row(axis)) return false;
  return true;
}

}  // namespace

bool still_valid(const Decomposition& decomposition, const double* positions, int64_t n_atoms,
                 const Cell& cell) {
  if (n_atoms != decomposition.n_atoms || cell.periodic != decomposition.cell.periodic) return false;
  if (same_for_neighbours(cell, decomposition.cell)) {
    return all_near(decomposition, positions, allowance(decomposition, 1.0) / 2,
                    [](const double*, int) { return 0.0; });
  }
  const Deformation deformation(decomposition.cell, cell);
  const double allowed = allowance(decomposition, deformation.least_stretch()) - rounding(decomposition);
  if (!(allowed > 0)) return false;
  return all_near(decomposition, positions, allowed / 2,
                  [&](const double* before, int k) { return deformation.moved(before, k); });
}

}  // namespace distmlip::partition
