#include <algorithm>

#include "kernels/distance_filter_inline.h"
#include "kernels/simd.h"

namespace distmlip::kernels {

#ifdef DISTMLIP_X86_SIMD
extern const Filter filter_avx512, filter_avx2;
#endif

namespace {

struct Portable {
  static constexpr int64_t lanes = 16;
  struct Point {
    float x, y, z;
  };
  struct Distances {
    float of[lanes];
  };

  static Point broadcast(float x, float y, float z) { return {x, y, z}; }

  static Distances squared_distances(const PackedSlots& slots, int64_t first, const Point& point) {
    Distances distances;
    for (int32_t k = 0; k < lanes; ++k) {
      const float x = slots.x[first + k] - point.x, y = slots.y[first + k] - point.y,
                  z = slots.z[first + k] - point.z;
      distances.of[k] = x * x + y * y + z * z;
    }
    return distances;
  }

  static uint32_t below(const Distances& distances, float limit) {
    uint32_t mask = 0;
    for (int32_t k = 0; k < lanes; ++k) mask |= static_cast<uint32_t>(distances.of[k] < limit) << k;
    return mask;
  }

  template <class Value>
  static void copy(const Value* from, Value* to) {
    std::copy_n(from, lanes, to);
  }

  static bool replace(const int32_t*, int32_t*) { return false; }

  static Distances zeros() { return {}; }

  static Distances farthest(const Distances& distances, uint32_t chosen, Distances so_far) {
    for (int32_t k = 0; k < lanes; ++k)
      if (chosen >> k & 1) so_far.of[k] = std::max(so_far.of[k], distances.of[k]);
    return so_far;
  }

  template <class Value>
  static void compress(uint32_t chosen, const Value* from, Value* to) {
    for (; chosen != 0; chosen &= chosen - 1) *to++ = from[__builtin_ctz(chosen)];
  }
};

const Filter filter_portable{pack_with<Portable>, around_with<Portable>, number_with<Portable>};

}  // namespace

Filter distance_filter() {
#ifdef DISTMLIP_X86_SIMD
  if (simd() == Simd::avx512) return filter_avx512;
  if (simd() == Simd::avx2) return filter_avx2;
#endif
  return filter_portable;
}

}  // namespace distmlip::kernels
