#include "neighbors/wrapping.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/error.h"
#include "core/thread_pool.h"

namespace distmlip::neighbors {
namespace {

constexpr Range nothing = {std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity()};

void include(Range& range, double value) {
  range.low = std::min(range.low, value);
  range.high = std::max(range.high, value);
}

/// What one thread has seen of its atoms.
struct Seen {
  std::array<Range, 3> cartesian{nothing, nothing, nothing}, fractional{nothing, nothing, nothing};
  double farthest = 0;
  std::array<Occupied, 3> occupied{};
};

class Wrapper {
 public:
  Wrapper(const Cell& cell, const double* given, int64_t n_atoms, int n_threads)
      : cell_(cell),
        given_(given),
        n_atoms_(n_atoms),
        n_threads_(threads_for(n_atoms, n_threads)),
        rows_(inverse(completed(cell))),
        seen_(n_threads_) {
    out_.counts.resize(3 * n_atoms);
    out_.positions.resize(3 * n_atoms);
  }

  Wrapped run(double radius) {
    in_parallel([&](int64_t atom, Seen& seen) { place(atom, seen); });
    summarise();
    const auto start = first_shares(cell_, occupied(), radius, out_);
    if (start[0] > 0 || start[1] > 0 || start[2] > 0) {
      for (Seen& seen : seen_) seen.cartesian = seen.fractional = {nothing, nothing, nothing};
      in_parallel([&](int64_t atom, Seen& seen) { lift(atom, start, seen); });
    }
    summarise();
    for (int axis = 0; axis < 3; ++axis)
      if (out_.meets_images[axis]) out_.fractional[axis] = {0, 1};
    return std::move(out_);
  }

 private:
  static int threads_for(int64_t n_atoms, int n_threads) {
    constexpr int64_t atoms_per_thread = 5000;
    return static_cast<int>(std::clamp<int64_t>(n_atoms / atoms_per_thread, 1, std::max(1, n_threads)));
  }

  template <class Work>
  void in_parallel(Work work) {
    parallel_for(n_threads_, n_threads_, [&](int64_t share, int) {
      const int64_t end = n_atoms_ * (share + 1) / n_threads_;
      Seen seen = seen_[share];
      for (int64_t atom = n_atoms_ * share / n_threads_; atom < end; ++atom) work(atom, seen);
      seen_[share] = seen;
    });
  }

  void place(int64_t atom, Seen& seen) {
    const Vec3 position{given_[3 * atom], given_[3 * atom + 1], given_[3 * atom + 2]};
    Vec3 fractional;
    int32_t counts[3];
    for (int k = 0; k < 3; ++k) {
      fractional[k] = dot(rows_[k], position);
      const double turns = cell_.periodic[k] ? fractional[k] : 0;
      const double distance = std::abs(position[k]);
      if (!(distance <= farthest_allowed && std::abs(turns) <= farthest_allowed))
        refuse_position(cell_, atom, position);
      seen.farthest = std::max(seen.farthest, distance);
      const auto truncated = static_cast<int32_t>(turns);
      counts[k] = truncated - static_cast<int32_t>(turns < truncated);
    }
    std::copy_n(counts, 3, out_.counts.begin() + 3 * atom);
    if ((counts[0] | counts[1] | counts[2]) == 0)
      settle(atom, position, fractional, seen);
    else
      fractional = wrap(atom, position, seen);
    for (int k = 0; k < 3; ++k)
      if (cell_.periodic[k]) seen.occupied[k][share_of(fractional[k])] = 1;
  }

  /// Moves an atom that lies before the start of the cell to its end.
  void lift(int64_t atom, const std::array<int32_t, 3>& start, Seen& seen) {
    const double* at = out_.positions.data() + 3 * atom;
    const Vec3 position{at[0], at[1], at[2]};
    for (int axis = 0; axis < 3; ++axis) {
      const bool before = share_of(dot(rows_[axis], position)) < start[axis];
      if (start[axis] > 0 && before) --out_.counts[3 * atom + axis];
    }
    wrap(atom, {given_[3 * atom], given_[3 * atom + 1], given_[3 * atom + 2]}, seen);
  }

  /// Applies the counts; returns fractional coordinates.
  Vec3 wrap(int64_t atom, Vec3 position, Seen& seen) {
    subtract_wrap(cell_, out_.counts.data() + 3 * atom, given_ + 3 * atom, 1, position.data());
    Vec3 fractional;
    for (int k = 0; k < 3; ++k) fractional[k] = dot(rows_[k], position);
    settle(atom, position, fractional, seen);
    return fractional;
  }

  void settle(int64_t atom, const Vec3& position, const Vec3& fractional, Seen& seen) {
    for (int k = 0; k < 3; ++k) {
      out_.positions[3 * atom + k] = position[k];
      include(seen.cartesian[k], position[k]);
      include(seen.fractional[k], fractional[k]);
    }
  }

  std::array<Occupied, 3> occupied() const {
    std::array<Occupied, 3> all{};
    for (const Seen& seen : seen_) {
      for (int axis = 0; axis < 3; ++axis)
        for (int32_t k = 0; k < n_shares; ++k) all[axis][k] |= seen.occupied[axis][k];
    }
    return all;
  }

  static int32_t share_of(double fractional) {
    return std::clamp(static_cast<int32_t>(fractional * n_shares), 0, n_shares - 1);
  }

  void summarise() {
    out_.cartesian = out_.fractional = {nothing, nothing, nothing};
    out_.farthest = 0;
    for (const Seen& seen : seen_) {
      out_.farthest = std::max(out_.farthest, seen.farthest);
      for (int k = 0; k < 3; ++k) {
        for (const double value : {seen.cartesian[k].low, seen.cartesian[k].high})
          include(out_.cartesian[k], value);
        for (const double value : {seen.fractional[k].low, seen.fractional[k].high})
          include(out_.fractional[k], value);
      }
    }
  }

  const Cell& cell_;
  const double* given_;
  int64_t n_atoms_;
  int n_threads_;
  std::array<Vec3, 3> rows_;
  std::vector<Seen> seen_;
  Wrapped out_;
};

/// Where the longest empty stretch ends, if it is longer than `reach` (of the cell); else -1.
int32_t end_of_vacuum(const Occupied& occupied, double reach) {
  int32_t longest = 0, end = 0, run = 0;
  for (int32_t k = 0; k < 2 * n_shares; ++k) {  // twice around, for a stretch across the end
    run = occupied[k % n_shares] ? 0 : run + 1;
    if (run > longest) {
      longest = run;
      end = k + 1;
    }
  }
  return longest > reach * n_shares + 1 ? end % n_shares : -1;
}

}  // namespace

void refuse_position(const Cell& cell, int64_t atom, const Vec3& position) {
  for (const double x : position) {
    if (std::abs(x) <= farthest_allowed) continue;
    invalid("atom ", atom, " is at (", position[0], ", ", position[1], ", ", position[2],
            ") Ang; coordinates must be finite and at most ", farthest_allowed,
            " Ang from the origin: check where the structure comes from");
  }
  double most = 0;
  const auto rows = inverse(completed(cell));
  for (int axis = 0; axis < 3; ++axis) {
    const double cells = cell.periodic[axis] ? std::floor(dot(rows[axis], position)) : 0;
    if (std::abs(cells) > std::abs(most)) most = cells;
  }
  invalid("atom ", atom, " is ", most, " cells away from the origin; at most ", farthest_allowed,
          " are supported: wrap the atoms into the cell");
}

std::array<int32_t, 3> first_shares(const Cell& cell, const std::array<Occupied, 3>& occupied, double radius,
                                    Extent& extent) {
  const Vec3 heights = perpendicular_heights(completed(cell));
  const double reach =
      radius + 2 * rounding_margin(extent, radius);  // also if the ranges grow to twice as much
  std::array<int32_t, 3> first{};
  extent.meets_images = cell.periodic;
  for (int axis = 0; axis < 3; ++axis) {
    if (!cell.periodic[axis]) continue;
    const int32_t end = end_of_vacuum(occupied[axis], reach / heights[axis]);
    extent.meets_images[axis] = end < 0;
    first[axis] = std::max(end, 0);
  }
  return first;
}

Wrapped wrap(const Cell& cell, const double* positions, int64_t n_atoms, double radius, int n_threads) {
  constexpr int64_t most_atoms = std::numeric_limits<int32_t>::max();
  if (n_atoms > most_atoms) invalid("there are ", n_atoms, " atoms; at most ", most_atoms, " are supported");
  if (n_atoms == 0) return {};
  return Wrapper(cell, positions, n_atoms, n_threads).run(radius);
}

double rounding_margin(const Extent& extent, double radius) {
  double largest = radius;
  for (const Range& range : extent.cartesian) largest = std::max(largest, range.length());
  // Two atoms and a shift are each rounded to float32, relative to the middle of the range.
  return std::ldexp(largest + radius, -20) + std::ldexp(extent.farthest, -46);
}

void subtract_wrap(const Cell& cell, const int32_t* wrap, const double* positions, int64_t n_atoms,
                   double* wrapped) {
  for (int64_t atom = 0; atom < n_atoms; ++atom) {
    const Vec3 whole_cells = shift_vector(cell, wrap + 3 * atom);
    for (int k = 0; k < 3; ++k) wrapped[3 * atom + k] = positions[3 * atom + k] - whole_cells[k];
  }
}

}  // namespace distmlip::neighbors
