#include "native/so2/rotations.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "core/error.h"

namespace distmlip::native::so2 {

using kernels::irreps::rotations_below;

Rotations::Rotations(int lmax) : lmax_(lmax) {
  if (lmax < 1 || lmax > kernels::irreps::largest_rotated)
    invalid("rotations up to degree ", lmax, "; 1 to ", kernels::irreps::largest_rotated, " are possible");
  for (int l = 2; l <= lmax; ++l)
    for (int row = -l; row <= l; ++row)
      for (int column = -l; column <= l; ++column) {
        first_term_.push_back(terms_.size());
        add_terms(l, row, column);
      }
  first_term_.push_back(terms_.size());
  turns_.resize(static_cast<size_t>(lmax) + 1);
  find_turns(0);
  find_turns(1);
}

/// The names and formulas of the second paper's table.
void Rotations::add_terms(int l, int m, int n) {
  const int size = std::abs(m);
  const double below = std::abs(n) < l ? (l + n) * (l - n) : 2 * l * (2 * l - 1), root = std::sqrt(2.0);
  const double u = std::sqrt((l + m) * (l - m) / below);
  const double v = std::sqrt((m == 0 ? 2 : 1) * (l + size - 1) * (l + size) / below) * (m == 0 ? -0.5 : 0.5);
  const double w = m == 0 ? 0 : -0.5 * std::sqrt((l - size - 1) * (l - size) / below);
  add_product(l, 0, m, n, u);
  if (m == 0) {
    add_product(l, 1, 1, n, v);
    add_product(l, -1, -1, n, v);
  } else if (m > 0) {
    add_product(l, 1, m - 1, n, m == 1 ? v * root : v);
    add_product(l, -1, 1 - m, n, m == 1 ? 0 : -v);
    add_product(l, 1, m + 1, n, w);
    add_product(l, -1, -m - 1, n, w);
  } else {
    add_product(l, 1, m + 1, n, m == -1 ? 0 : v);
    add_product(l, -1, -m - 1, n, m == -1 ? v * root : v);
    add_product(l, 1, m - 1, n, w);
    add_product(l, -1, 1 - m, n, -w);
  }
}

void Rotations::add_product(int l, int axis, int row, int column, double factor) {
  if (factor == 0) return;
  const auto add = [&](int of_axis, int of_column, double times) {
    terms_.push_back({times, 3 * (axis + 1) + of_axis + 1, (row + l - 1) * (2 * l - 1) + of_column + l - 1});
  };
  if (column == l) {
    add(1, l - 1, factor);
    add(-1, 1 - l, -factor);
  } else if (column == -l) {
    add(1, 1 - l, factor);
    add(-1, l - 1, factor);
  } else {
    add(0, column, factor);
  }
}

/// The derivative of a small turn, from that of the matrix of degree one.
void Rotations::find_turns(int about) {
  std::vector<double> matrices(static_cast<size_t>(size()), 0.0), turned(matrices);
  const double none[] = {0, 1, 0};
  evaluate(none, matrices.data());
  constexpr double turns[2][9] = {{0, 0, 0, 0, 0, -1, 0, 1, 0}, {0, -1, 0, 1, 0, 0, 0, 0, 0}};
  std::copy_n(turns[about], 9, turned.begin() + 1);
  size_t element = 0;
  for (int l = 1; l <= lmax_; ++l) {
    const double *first = matrices.data() + 1, *lower = matrices.data() + rotations_below(l - 1);
    const double *of_first = turned.data() + 1, *of_lower = turned.data() + rotations_below(l - 1);
    double* to = turned.data() + rotations_below(l);
    const int n = 2 * l + 1;
    for (int k = 0; k < n * n; ++k) {
      if (l > 1) {
        to[k] = 0;
        for (size_t t = first_term_[element]; t < first_term_[element + 1]; ++t)
          to[k] += terms_[t].factor * (of_first[terms_[t].of_first] * lower[terms_[t].of_lower] +
                                       first[terms_[t].of_first] * of_lower[terms_[t].of_lower]);
        ++element;
      }
      if (std::abs(to[k]) > 1e-12)
        turns_[static_cast<size_t>(l)].push_back({about, k / n - l, k % n - l, to[k]});
    }
  }
}

void Rotations::evaluate(const double* direction, double* matrices) const {
  const double x = direction[0], y = direction[1], z = direction[2];
  double* first = matrices + 1;
  matrices[0] = 1;
  // The shortest turn from the vector to the second axis, or beyond a right angle, to the opposite of it and
  // half a turn about the first one.
  const double scale = 1 / (1 + std::abs(y)), half = y > 0 ? 1 : -1;
  const double axes[] = {
      1 - x * x * scale,         -half * x, -x * z * scale, x, y, z, -half * x * z * scale, -z,
      half * (1 - z * z * scale)};
  std::copy_n(axes, 9, first);
  size_t element = 0;
  for (int l = 2; l <= lmax_; ++l) {
    const double* lower = matrices + rotations_below(l - 1);
    for (double* to = matrices + rotations_below(l); to != matrices + rotations_below(l + 1); ++to) {
      *to = 0;
      for (size_t t = first_term_[element]; t < first_term_[element + 1]; ++t)
        *to += terms_[t].factor * first[terms_[t].of_first] * lower[terms_[t].of_lower];
      ++element;
    }
  }
}

}  // namespace distmlip::native::so2
