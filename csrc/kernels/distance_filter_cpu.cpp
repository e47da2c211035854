#include <algorithm>

#include "kernels/distance_filter.h"

namespace distmlip::kernels {
namespace {

constexpr int32_t block = 64;

}  // namespace

// Not under ThreadSanitizer: the function that picks a clone runs before the sanitizer has started.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_THREAD__)
__attribute__((target_clones("avx512f", "avx2", "default")))
#endif
int64_t filter_within(const Coordinates& coordinates, const Run* runs, int64_t n_runs, float x, float y,
                      float z, float limit, int32_t* hits) {
  int32_t below[block];
  int64_t n_hits = 0;
  for (int64_t run = 0; run < n_runs; ++run) {
    for (int32_t begin = runs[run].begin; begin < runs[run].end; begin += block) {
      const int32_t count = std::min(block, runs[run].end - begin);
      const float* xs = coordinates.x + begin;
      const float* ys = coordinates.y + begin;
      const float* zs = coordinates.z + begin;
      for (int32_t k = 0; k < count; ++k) {
        const float dx = xs[k] - x, dy = ys[k] - y, dz = zs[k] - z;
        below[k] = dx * dx + dy * dy + dz * dz < limit;
      }
      // No branch on the distance: it would be mispredicted for most atoms.
      for (int32_t k = 0; k < count; ++k) {
        hits[n_hits] = begin + k;
        n_hits += below[k];
      }
    }
  }
  return n_hits;
}

}  // namespace distmlip::kernels
