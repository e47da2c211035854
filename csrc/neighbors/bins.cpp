#include "neighbors/bins.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "core/thread_pool.h"

namespace distmlip::neighbors {
namespace {

constexpr int64_t most_slots = std::numeric_limits<int32_t>::max() - 64;

/// Every thread counts on its own, and a count per bin and thread should not cost more than the atoms do.
constexpr int most_counting_threads = 16;
constexpr int64_t atoms_per_thread = 5000;

/// Bins next to each other along one axis that are copies from the same periodic image.
struct Segment {
  int32_t first, end;  // extended bins
  int32_t real;        // the bin that `first` is a copy of; -1: outside, where the axis is not periodic
  int32_t shift;
};

std::vector<Segment> segments_of(const BinAxis& axis) {
  const int32_t layers = axis.layers, count = axis.count, extent = axis.extent();
  if (axis.images == 0) {
    std::vector<Segment> open{{layers, layers + count, layers, 0}};
    if (layers > 0) open = {{0, layers, -1, 0}, open[0], {layers + count, extent, -1, 0}};
    return open;
  }
  std::vector<Segment> segments;
  for (int32_t shift = -axis.images; shift <= axis.images; ++shift) {
    const int32_t begin = layers + shift * count;
    const int32_t first = std::max(0, begin), end = std::min(extent, begin + count);
    if (first < end) segments.push_back({first, end, first - shift * count, shift});
  }
  return segments;
}

/// Fills Bins whose axes are known: a counting sort, then copies of whole runs of bins.
class Sorter {
 public:
  Sorter(Bins& bins, const Cell& cell, const Wrapped& wrapped, int n_threads)
      : bins_(bins), cell_(cell), wrapped_(wrapped), n_atoms_(wrapped.n_atoms()) {
    const int64_t most = std::min<int64_t>(std::max(1, n_threads), most_counting_threads);
    n_threads_ = static_cast<int>(std::clamp<int64_t>(n_atoms_ / atoms_per_thread, 1, most));
    for (int k = 0; k < 3; ++k) segments_[k] = segments_of(bins.axes[k]);
    n_bins_ = bins.plane_stride() * bins.axes[2].extent();
    n_real_ = static_cast<int64_t>(bins.axes[0].count) * bins.axes[1].count * bins.axes[2].count;
    for (int k = 0; k < 3; ++k) middle_[k] = wrapped.cartesian[k].low + wrapped.cartesian[k].length() / 2;
  }

  void sort(const BinLayout& layout) {
    assign(layout);
    number_ordinals();
    number_slots();
    place_ordinals();
    parallel_for(bins_.axes[2].count, n_threads_, [&](int64_t z, int) { fill_plane(z); });
    for (const Segment& c : segments_[2]) {
      parallel_for(c.end - c.first, n_threads_,
                   [&](int64_t k, int) { copy_plane(c, static_cast<int32_t>(c.first + k)); });
    }
  }

 private:
  template <class Work>
  void for_each_atom(Work work) {
    parallel_for(n_threads_, n_threads_, [&](int64_t share, int) {
      int32_t* counts = counts_.data() + share * n_real_;
      const int64_t end = n_atoms_ * (share + 1) / n_threads_;
      for (int64_t atom = n_atoms_ * share / n_threads_; atom < end; ++atom) work(atom, counts);
    });
  }

  /// Real bins are counted without ghosts between them.
  void assign(const BinLayout& layout) {
    counts_.assign(n_threads_ * n_real_, 0);
    real_of_atom_.resize(n_atoms_);
    const auto rows = inverse(completed(cell_));
    for_each_atom([&](int64_t atom, int32_t* counts) {
      const double* at = wrapped_.positions.data() + 3 * atom;
      int32_t index[3];
      for (int k = 0; k < 3; ++k) {
        const BinAxis& axis = bins_.axes[k];
        const AxisLayers& layers = layout.layers[k];
        double place = dot(rows[k], {at[0], at[1], at[2]});
        if (!layers.removed.empty()) place -= layers.removed[layers.squeeze.layer(place)];
        index[k] =
            static_cast<int32_t>(std::clamp((place - axis.origin) * axis.per_unit, 0.0, axis.count - 1.0));
      }
      const int32_t real = (index[2] * bins_.axes[1].count + index[1]) * bins_.axes[0].count + index[0];
      real_of_atom_[atom] = real;
      ++counts[real];
    });
  }

  /// Counts of bin and thread become the first ordinal of each.
  void number_ordinals() {
    first_ordinal_.resize(n_real_ + 1);
    int32_t ordinal = 0;
    for (int64_t real = 0; real < n_real_; ++real) {
      first_ordinal_[real] = ordinal;
      for (int64_t at = real; at < n_threads_ * n_real_; at += n_real_) {
        const int32_t count = counts_[at];
        counts_[at] = ordinal;
        ordinal += count;
      }
    }
    first_ordinal_[n_real_] = ordinal;
  }

  void number_slots() {
    bins_.begin.resize(n_bins_ + 1);
    int64_t n_slots = 0, bin = 0;
    for (const Segment& c : segments_[2]) {
      for (int32_t z = c.first; z < c.end; ++z) {
        for (const Segment& b : segments_[1]) {
          for (int32_t y = b.first; y < b.end; ++y) {
            for (const Segment& a : segments_[0]) {
              const bool exists = a.real >= 0 && b.real >= 0 && c.real >= 0;
              const int64_t real = exists ? real_at(a.real, b.real + y - b.first, c.real + z - c.first) : 0;
              for (int32_t x = 0; x < a.end - a.first; ++x) {
                bins_.begin[bin++] = static_cast<int32_t>(n_slots);
                if (exists) n_slots += first_ordinal_[real + x + 1] - first_ordinal_[real + x];
              }
            }
            check_slots(n_slots);
          }
        }
      }
    }
    bins_.begin[bin] = static_cast<int32_t>(n_slots);
  }

  static void check_slots(int64_t n_slots) {
    if (n_slots <= most_slots) return;
    invalid("the atoms and their periodic images within the cutoff are more than ", most_slots,
            ": use a smaller cutoff, or a part of the system at a time");
  }

  void place_ordinals() {
    bins_.order.resize(n_atoms_);
    for_each_atom([&](int64_t atom, int32_t* next) {
      bins_.order[next[real_of_atom_[atom]]++] = static_cast<int32_t>(atom);
    });
    const size_t n_slots = bins_.begin.back();
    bins_.bin.resize(n_atoms_);
    bins_.slot.resize(n_atoms_);
    const size_t readable = n_slots + kernels::filter_lanes;
    for (auto* coordinates : {&bins_.x, &bins_.y, &bins_.z}) {
      coordinates->resize(readable);
      std::fill(coordinates->begin() + n_slots, coordinates->end(), 0.0f);
    }
    bins_.ordinal.resize(readable);
    std::fill(bins_.ordinal.begin() + n_slots, bins_.ordinal.end(), 0);
    bins_.shift_code.resize(n_slots);
  }

  /// The atoms themselves of one plane of real bins.
  void fill_plane(int64_t z) {
    const auto& axes = bins_.axes;
    const uint16_t unshifted = code(0, 0, 0);
    for (int64_t y = 0; y < axes[1].count; ++y) {
      const int64_t real = (z * axes[1].count + y) * axes[0].count;
      const int64_t bin = bin_at(axes[0].layers, y + axes[1].layers, z + axes[2].layers);
      int32_t slot = bins_.begin[bin];
      for (int64_t x = 0; x < axes[0].count; ++x) {
        for (int32_t ordinal = first_ordinal_[real + x]; ordinal < first_ordinal_[real + x + 1];
             ++ordinal, ++slot) {
          const double* at = wrapped_.positions.data() + 3 * static_cast<int64_t>(bins_.order[ordinal]);
          bins_.x[slot] = static_cast<float>(at[0] - middle_[0]);
          bins_.y[slot] = static_cast<float>(at[1] - middle_[1]);
          bins_.z[slot] = static_cast<float>(at[2] - middle_[2]);
          bins_.ordinal[slot] = ordinal;
          bins_.shift_code[slot] = unshifted;
          bins_.bin[ordinal] = static_cast<int32_t>(bin + x);
          bins_.slot[ordinal] = slot;
        }
      }
    }
  }

  /// The ghosts of one plane of bins.
  void copy_plane(const Segment& c, int32_t z) {
    if (c.real < 0) return;
    for (const Segment& b : segments_[1]) {
      for (int32_t y = b.first; b.real >= 0 && y < b.end; ++y) {
        for (const Segment& a : segments_[0]) {
          if (a.real < 0 || (a.shift == 0 && b.shift == 0 && c.shift == 0)) continue;
          const int64_t to = bin_at(a.first, y, z);
          const int64_t from = bin_at(a.real, b.real + y - b.first, c.real + z - c.first);
          copy_run(bins_.begin[from], bins_.begin[to], bins_.begin[to + a.end - a.first],
                   {a.shift, b.shift, c.shift});
        }
      }
    }
  }

  void copy_run(int32_t from, int32_t to, int32_t end, const std::array<int32_t, 3>& shift) {
    const Vec3 vector = shift_vector(cell_, shift.data());
    const auto x = static_cast<float>(vector[0]), y = static_cast<float>(vector[1]),
               z = static_cast<float>(vector[2]);
    const int32_t count = end - to;
    for (int32_t k = 0; k < count; ++k) bins_.x[to + k] = bins_.x[from + k] + x;
    for (int32_t k = 0; k < count; ++k) bins_.y[to + k] = bins_.y[from + k] + y;
    for (int32_t k = 0; k < count; ++k) bins_.z[to + k] = bins_.z[from + k] + z;
    std::copy_n(bins_.ordinal.begin() + from, count, bins_.ordinal.begin() + to);
    std::fill_n(bins_.shift_code.begin() + to, count, code(shift[0], shift[1], shift[2]));
  }

  /// Indices of extended bins in, of the real bin they mean out.
  int64_t real_at(int32_t x, int32_t y, int32_t z) const {
    const auto& axes = bins_.axes;
    return (static_cast<int64_t>(z - axes[2].layers) * axes[1].count + (y - axes[1].layers)) * axes[0].count +
           (x - axes[0].layers);
  }

  int64_t bin_at(int64_t x, int64_t y, int64_t z) const {
    return z * bins_.plane_stride() + y * bins_.row_stride() + x;
  }

  uint16_t code(int32_t a, int32_t b, int32_t c) const {
    const auto& axes = bins_.axes;
    return static_cast<uint16_t>(((c + axes[2].images) * (2 * axes[1].images + 1) + b + axes[1].images) *
                                     (2 * axes[0].images + 1) +
                                 a + axes[0].images);
  }

  Bins& bins_;
  const Cell& cell_;
  const Wrapped& wrapped_;
  int64_t n_atoms_, n_bins_, n_real_;
  int n_threads_;
  std::array<std::vector<Segment>, 3> segments_;
  Vec3 middle_;
  Buffer<int32_t> counts_;        // (n_threads, n_real) atoms of each thread in each bin, then their ordinals
  Buffer<int32_t> real_of_atom_;  // (n_atoms)
  Buffer<int32_t> first_ordinal_;  // (n_real + 1)
};

std::vector<uint8_t> occupied_layers(const Cell& cell, const Wrapped& wrapped, int axis,
                                     const kernels::Squeeze& layers) {
  const Vec3 row = inverse(completed(cell))[axis];
  std::vector<uint8_t> occupied(layers.n, 0);
  for (int64_t atom = 0; atom < wrapped.n_atoms(); ++atom) {
    const double* at = wrapped.positions.data() + 3 * atom;
    occupied[layers.layer(dot(row, {at[0], at[1], at[2]}))] = 1;
  }
  return occupied;
}

}  // namespace

Reach reach_of(const Extent& extent, double radius) {
  const double margin = rounding_margin(extent, radius);
  const double outer = radius + margin, inner = radius - margin;
  Reach reach{outer, {}};
  reach.limits.outer = static_cast<float>(outer * outer * (1 + 1e-6));
  reach.limits.inner = inner > 0 ? static_cast<float>(inner * inner * (1 - 1e-6)) : 0.0f;
  return reach;
}

std::vector<int32_t> numbered_shifts(const std::array<BinAxis, 3>& axes) {
  std::vector<int32_t> shifts;
  for (int32_t c = -axes[2].images; c <= axes[2].images; ++c) {
    for (int32_t b = -axes[1].images; b <= axes[1].images; ++b)
      for (int32_t a = -axes[0].images; a <= axes[0].images; ++a) shifts.insert(shifts.end(), {a, b, c});
  }
  return shifts;
}

Bins sort_into_bins(const Cell& cell, const Wrapped& wrapped, double radius, int n_threads) {
  Bins bins;
  if (wrapped.n_atoms() == 0) {
    bins.begin = {0, 0};
    bins.shifts = numbered_shifts(bins.axes);
    return bins;
  }
  const Reach reach = reach_of(wrapped, radius);
  const BinLayout layout = choose_bins(
      cell, wrapped, wrapped.n_atoms(), reach.outer,
      [&](int axis, const kernels::Squeeze& layers) { return occupied_layers(cell, wrapped, axis, layers); });
  bins.axes = layout.axes;
  bins.limits = reach.limits;
  bins.shifts = numbered_shifts(bins.axes);
  Sorter(bins, cell, wrapped, n_threads).sort(layout);
  return bins;
}

}  // namespace distmlip::neighbors
