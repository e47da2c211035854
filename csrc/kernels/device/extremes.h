// The largest of many numbers.
#pragma once

#include <cstring>

#include "kernels/device/parallel.h"

namespace distmlip::kernels {

/// Doubles as integers in the same order, because those have atomic operations everywhere.
DISTMLIP_HOST_DEVICE inline uint64_t ordered(double value) {
  uint64_t bits;
  memcpy(&bits, &value, sizeof bits);
  constexpr uint64_t sign = uint64_t{1} << 63;
  return bits & sign ? ~bits : bits | sign;
}

inline double from_ordered(uint64_t ordered_bits) {
  constexpr uint64_t sign = uint64_t{1} << 63;
  const uint64_t bits = ordered_bits & sign ? ordered_bits & ~sign : ~ordered_bits;
  double value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

template <int n>
struct Extremes {
  double of[n];
};

/// Calls f(k, extremes) for every k in [0, n); f raises the extremes that it finds exceeded. all: the largest
/// ones, ordered().
template <int n_extremes, class Backend, class F>
void for_each_with_extremes(const Backend& backend, int64_t n, uint64_t* all, F f) {
  using Group = typename Backend::Group;
  constexpr int64_t most_groups = 8192;  // enough to fill any device
  const int64_t n_groups = std::min((n + group_lanes - 1) / group_lanes, most_groups);
  backend.for_each(n_extremes, [=] DISTMLIP_DEVICE(int64_t k) { all[k] = 0; });
  backend.for_each_group(n_groups, [=] DISTMLIP_DEVICE(const Group& group, int64_t which) {
    typename Backend::template PerLane<Extremes<n_extremes>> mine;
    group.each_lane([&](int lane) {
      for (int k = 0; k < n_extremes; ++k) mine[lane].of[k] = -HUGE_VAL;
      for (int64_t i = which * group_lanes + lane; i < n; i += n_groups * group_lanes) f(i, mine[lane].of);
    });
    for (int k = 0; k < n_extremes; ++k) {
      typename Backend::template PerLane<double> values;
      group.each_lane([&](int lane) { values[lane] = mine[lane].of[k]; });
      const double largest = group.reduce(values, [](double a, double b) { return a > b ? a : b; });
      group.once([&] { atomic_max(all + k, ordered(largest)); });
    }
  });
}

}  // namespace distmlip::kernels
