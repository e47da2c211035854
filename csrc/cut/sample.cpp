#include "cut/sample.h"

#include <algorithm>
#include <numeric>

namespace distmlip::cut {
namespace {

/// A number below `limit` that looks random: a fixed step through a crystal would meet the same place of its
/// cell again and again.
int64_t scattered(int64_t k, int64_t limit) {
  return static_cast<int64_t>(((static_cast<uint64_t>(k) * 0x9E3779B97F4A7C15u) >> 32) %
                              static_cast<uint64_t>(limit));
}

}  // namespace

Sample::Sample(const Input& input, int64_t size) : stride(std::max<int64_t>(1, input.n_atoms / size)) {
  const int64_t n = input.n_atoms / stride;
  atom.resize(n);
  for (auto* values : {&x, &y, &z, &weights}) values->resize(n);
  for (int64_t k = 0; k < n; ++k) {
    const int64_t begin = k * stride, end = k + 1 == n ? input.n_atoms : begin + stride;
    atom[k] = static_cast<int32_t>(begin + scattered(k, stride));
    x[k] = input.x[atom[k]];
    y[k] = input.y[atom[k]];
    z[k] = input.z[atom[k]];
    weights[k] = static_cast<float>(std::accumulate(input.weights + begin, input.weights + end, 0.0));
  }
}

Input Sample::view(const Input& input) const {
  return {input.cell, size(), x.data(), y.data(), z.data(), weights.data(), input.cutoff, input.n_threads};
}

}  // namespace distmlip::cut
