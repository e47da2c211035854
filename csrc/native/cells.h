// The intervals of length on which tables of radial functions are polynomials.
#pragma once

#include <algorithm>

#include "core/error.h"

namespace distmlip::native {

/// Of one width up to the middle, of another one behind it: radial functions are rougher where they are
/// steep.
struct Cells {
  double first = 0, middle = 0, last = 0;
  int n_inner = 0, n_outer = 0;

  int n() const { return n_inner + n_outer; }
  double inner_width() const { return n_inner > 0 ? (middle - first) / n_inner : 0; }
  double outer_width() const { return n_outer > 0 ? (last - middle) / n_outer : 0; }

  void require_valid() const {
    if (!(0 <= first && first <= middle && middle < last) || n_inner < 0 || n_outer < 1 ||
        (n_inner == 0) != (first == middle))
      invalid("tables of ", n_inner, " and ", n_outer, " cells from ", first, " over ", middle, " to ", last);
  }

  /// Of this length; the nearest one if it is in none. `t`: from -1 to 1 in the cell; `slope`: dt/dlength.
  template <class T>
  int find(T length, T& t, T& slope) const {
    const auto r = static_cast<double>(length);
    const bool inner = r < middle && n_inner > 0;
    const double width = inner ? inner_width() : outer_width(), begin = inner ? first : middle;
    const double place = (r - begin) / width;
    const int cell = std::clamp(static_cast<int>(place), 0, (inner ? n_inner : n_outer) - 1);
    t = static_cast<T>(2 * (place - cell) - 1);
    slope = static_cast<T>(2 / width);
    return inner ? cell : n_inner + cell;
  }
};

}  // namespace distmlip::native
