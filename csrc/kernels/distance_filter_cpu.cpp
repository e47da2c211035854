#include <algorithm>
#include <atomic>

#include "core/error.h"
#include "kernels/distance_filter_inline.h"

namespace distmlip::kernels {

#ifdef DISTMLIP_X86_SIMD
extern const Filter filter_avx512, filter_avx2;
#endif

namespace {

struct Generic {
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

struct Level {
  const char* name;
  const Filter* filter;
};

const Filter filter_generic{pack_with<Generic>, around_with<Generic>, number_with<Generic>};

/// Those that this processor runs, best first.
std::vector<Level> levels() {
  std::vector<Level> all;
#ifdef DISTMLIP_X86_SIMD
  __builtin_cpu_init();
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  if (avx512) all.push_back({"avx512", &filter_avx512});
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) all.push_back({"avx2", &filter_avx2});
#endif
  all.push_back({"generic", &filter_generic});
  return all;
}

std::atomic<const Filter*>& chosen() {
  static std::atomic<const Filter*> filter{levels().front().filter};
  return filter;
}

}  // namespace

Filter distance_filter() { return *chosen(); }

std::vector<std::string> simd_levels() {
  std::vector<std::string> names;
  for (const Level& level : levels()) names.emplace_back(level.name);
  return names;
}

void set_simd(const std::string& level) {
  std::string known;
  for (const Level& candidate : levels()) {
    if (candidate.name == level) {
      chosen() = candidate.filter;
      return;
    }
    known += std::string(known.empty() ? "" : ", ") + candidate.name;
  }
  invalid("simd is '", level, "'; this processor has ", known);
}

}  // namespace distmlip::kernels
