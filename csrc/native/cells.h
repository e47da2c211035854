// The intervals of length on which tables of radial functions are polynomials.
#pragma once

#include <algorithm>
#include <vector>

#include "core/error.h"

namespace distmlip::native {

class Cells {
 public:
  Cells() = default;
  /// From one end to the next one, in Å. Throws std::invalid_argument if they do not ascend from zero or
  /// more.
  explicit Cells(std::vector<double> ends) : ends_(std::move(ends)) {
    if (ends_.size() < 2 || !(ends_.front() >= 0)) invalid("cells of tables with ", ends_.size(), " ends");
    for (size_t k = 0; k + 1 < ends_.size(); ++k) {
      if (!(ends_[k] < ends_[k + 1])) invalid("a cell of tables from ", ends_[k], " to ", ends_[k + 1]);
      slopes_.push_back(2 / (ends_[k + 1] - ends_[k]));
    }
    const double bins = bins_per_cell * n();
    bins_per_length_ = bins / (ends_.back() - ends_.front());
    int cell = 0;
    for (int bin = 0; bin < static_cast<int>(bins); ++bin) {
      while (cell + 1 < n() && ends_.front() + bin / bins_per_length_ >= ends_[index(cell + 1)]) ++cell;
      cell_at_.push_back(cell);
    }
  }

  int n() const { return static_cast<int>(slopes_.size()); }

  /// Of this length; the nearest one if it is in none. `t`: from -1 to 1 in the cell; `slope`: dt/dlength.
  template <class Length, class T>
  int find(Length length, T& t, T& slope) const {
    const auto r = static_cast<double>(length);
    const double place = (r - ends_.front()) * bins_per_length_, last = static_cast<double>(cell_at_.size());
    int cell = cell_at_[static_cast<size_t>(std::min(std::max(0.0, place), last - 1))];  // also of no number
    while (cell + 1 < n() && r >= ends_[index(cell + 1)]) ++cell;
    while (cell > 0 && r < ends_[index(cell)]) --cell;
    t = static_cast<T>((r - ends_[index(cell)]) * slopes_[index(cell)] - 1);
    slope = static_cast<T>(slopes_[index(cell)]);
    return cell;
  }

 private:
  static constexpr int bins_per_cell = 4;
  static size_t index(int cell) { return static_cast<size_t>(cell); }

  std::vector<double> ends_, slopes_;
  double bins_per_length_ = 0;
  std::vector<int> cell_at_;  ///< of equal bins of length: where to begin to look
};

}  // namespace distmlip::native
