#include "graph/bins.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/error.h"
#include "kernels/distance_filter.h"

namespace distmlip::graph {
namespace {

constexpr int64_t most_slots = std::numeric_limits<int32_t>::max() - 64;

/// Which real bin an extended bin is a copy of (−1: none, outside an open boundary) and from which image.
struct BinCopy {
  int32_t real, shift;
};

std::vector<BinCopy> bin_copies(const BinAxis& axis, bool periodic) {
  std::vector<BinCopy> copies(axis.extent());
  for (int32_t k = 0; k < axis.extent(); ++k) {
    const int32_t relative = k - axis.layers;
    const int32_t shift =
        relative >= 0 ? relative / axis.count : -((-relative + axis.count - 1) / axis.count);
    copies[k] = {relative - shift * axis.count + axis.layers, shift};
    if (!periodic && shift != 0) copies[k] = {-1, 0};
  }
  return copies;
}

void number_shifts(Bins& bins) {
  const auto& axes = bins.axes;
  for (int32_t c = -axes[2].images; c <= axes[2].images; ++c) {
    for (int32_t b = -axes[1].images; b <= axes[1].images; ++b) {
      for (int32_t a = -axes[0].images; a <= axes[0].images; ++a) {
        bins.shifts.insert(bins.shifts.end(), {a, b, c});
      }
    }
  }
}

/// Fills Bins whose axes are known.
class Sorter {
 public:
  Sorter(Bins& bins, const Cell& cell, const double* positions, int64_t n_atoms)
      : bins_(bins), cell_(cell), positions_(positions), n_atoms_(n_atoms) {
    for (int k = 0; k < 3; ++k) copies_[k] = bin_copies(bins.axes[k], cell.periodic[k]);
  }

  void assign(const std::array<Places, 3>& fractional) {
    bins_.bin.resize(n_atoms_);
    population_.assign(bins_.plane_stride() * bins_.axes[2].extent(), 0);
    for (int64_t atom = 0; atom < n_atoms_; ++atom) {
      int32_t index[3];
      for (int k = 0; k < 3; ++k) {
        const BinAxis& axis = bins_.axes[k];
        const double place = std::floor((fractional[k][atom] - axis.origin) * axis.per_unit);
        index[k] = static_cast<int32_t>(std::clamp(place, 0.0, axis.count - 1.0)) + axis.layers;
      }
      bins_.bin[atom] = static_cast<int32_t>(bin_at(index[0], index[1], index[2]));
      ++population_[bins_.bin[atom]];
    }
  }

  void number_slots() {
    bins_.begin.resize(population_.size() + 1);
    int64_t n_slots = 0;
    for_each_bin([&](int64_t bin, int64_t source, const int32_t*) {
      bins_.begin[bin] = static_cast<int32_t>(n_slots);
      n_slots += source < 0 ? 0 : population_[source];
      if (n_slots > most_slots) {
        invalid("the atoms and their periodic images within the cutoff are more than ", most_slots,
                ": use more processes or a smaller cutoff");
      }
    });
    bins_.begin.back() = static_cast<int32_t>(n_slots);
  }

  void fill(const Vec3& origin) {
    const size_t n_slots = bins_.begin.back();
    bins_.atom.resize(n_slots);
    bins_.shift_code.resize(n_slots);
    for (auto* coordinates : {&bins_.x, &bins_.y, &bins_.z}) {
      coordinates->resize(n_slots + kernels::filter_slack);
      std::fill(coordinates->end() - kernels::filter_slack, coordinates->end(), 0.0f);
    }
    fill_real(origin);
    for_each_bin([&](int64_t bin, int64_t source, const int32_t* shift) {
      if (source >= 0 && source != bin) copy_bin(bin, source, shift);
    });
  }

 private:
  int64_t bin_at(int64_t x, int64_t y, int64_t z) const {
    return z * bins_.plane_stride() + y * bins_.row_stride() + x;
  }

  /// visit(bin, real bin it is a copy of or -1, shift), in the order of slots.
  template <class Visit>
  void for_each_bin(Visit visit) const {
    int64_t bin = 0;
    for (const BinCopy& c : copies_[2]) {
      for (const BinCopy& b : copies_[1]) {
        for (const BinCopy& a : copies_[0]) {
          const int32_t shift[3] = {a.shift, b.shift, c.shift};
          const bool exists = a.real >= 0 && b.real >= 0 && c.real >= 0;
          visit(bin++, exists ? bin_at(a.real, b.real, c.real) : -1, shift);
        }
      }
    }
  }

  uint16_t code(const int32_t* shift) const {
    int32_t code = 0;
    for (int k = 2; k >= 0; --k) {
      code = code * (2 * bins_.axes[k].images + 1) + shift[k] + bins_.axes[k].images;
    }
    return static_cast<uint16_t>(code);
  }

  void fill_real(const Vec3& origin) {
    bins_.slot.resize(n_atoms_);
    std::vector<int32_t> next(bins_.begin.begin(), bins_.begin.end() - 1);
    const int32_t none[3] = {0, 0, 0};
    const uint16_t unshifted = code(none);
    for (int64_t atom = 0; atom < n_atoms_; ++atom) {
      const int32_t slot = next[bins_.bin[atom]]++;
      bins_.slot[atom] = slot;
      bins_.atom[slot] = static_cast<int32_t>(atom);
      bins_.shift_code[slot] = unshifted;
      bins_.x[slot] = static_cast<float>(positions_[3 * atom] - origin[0]);
      bins_.y[slot] = static_cast<float>(positions_[3 * atom + 1] - origin[1]);
      bins_.z[slot] = static_cast<float>(positions_[3 * atom + 2] - origin[2]);
    }
  }

  void copy_bin(int64_t bin, int64_t source, const int32_t* shift) {
    const int32_t from = bins_.begin[source], to = bins_.begin[bin];
    const int32_t count = bins_.begin[bin + 1] - to;
    const Vec3 vector = shift_vector(cell_, shift);
    const uint16_t shift_code = code(shift);
    for (int32_t k = 0; k < count; ++k) {
      bins_.x[to + k] = bins_.x[from + k] + static_cast<float>(vector[0]);
      bins_.y[to + k] = bins_.y[from + k] + static_cast<float>(vector[1]);
      bins_.z[to + k] = bins_.z[from + k] + static_cast<float>(vector[2]);
      bins_.atom[to + k] = bins_.atom[from + k];
      bins_.shift_code[to + k] = shift_code;
    }
  }

  Bins& bins_;
  const Cell& cell_;
  const double* positions_;
  int64_t n_atoms_;
  std::array<std::vector<BinCopy>, 3> copies_;
  std::vector<int32_t> population_;
};

/// Rounding to float32 moves two atoms and a shift by at most a few units in the last place.
double rounding_margin(const std::array<Range, 3>& cartesian, double radius) {
  double largest = radius;
  for (const Range& range : cartesian) largest = std::max(largest, range.length());
  return std::ldexp(largest + radius, -20);
}

}  // namespace

Bins sort_into_bins(const Cell& cell, const double* positions, int64_t n_atoms, double radius) {
  const Cell full = completed(cell);
  Bins bins;
  if (n_atoms == 0) {
    bins.begin = {0, 0};
    number_shifts(bins);
    return bins;
  }
  std::array<Range, 3> cartesian;
  std::array<Places, 3> fractional;
  const auto rows = inverse(full);
  for (int k = 0; k < 3; ++k) {
    cartesian[k] = range_of(
        places_along({k == 0 ? 1.0 : 0.0, k == 1 ? 1.0 : 0.0, k == 2 ? 1.0 : 0.0}, positions, n_atoms));
    fractional[k] = places_along(rows[k], positions, n_atoms);
  }
  const double reach = radius + rounding_margin(cartesian, radius);
  bins.reach_squared = static_cast<float>(reach * reach * (1 + 1e-6));
  bins.axes = choose_axes(cell, fractional, reach);
  number_shifts(bins);

  Vec3 origin;
  for (int k = 0; k < 3; ++k) origin[k] = cartesian[k].low + cartesian[k].length() / 2;
  Sorter sorter(bins, cell, positions, n_atoms);
  sorter.assign(fractional);
  sorter.number_slots();
  sorter.fill(origin);
  return bins;
}

}  // namespace distmlip::graph
