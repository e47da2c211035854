// Compiled with AVX2 enabled (CMakeLists.txt); called only where the processor has it.
#include <immintrin.h>

#include "kernels/distance_filter_inline.h"

namespace distmlip::kernels {
namespace {

/// For every mask of eight lanes, the numbers of the chosen ones in front.
struct Orders {
  alignas(32) int32_t lane[256][8];   // for 32-bit lanes
  alignas(16) uint8_t byte[256][16];  // for 16-bit lanes, byte by byte

  constexpr Orders() : lane{}, byte{} {
    for (int mask = 0; mask < 256; ++mask) {
      int n = 0;
      for (int k = 0; k < 8; ++k) {
        if (!(mask >> k & 1)) continue;
        lane[mask][n] = k;
        byte[mask][2 * n] = static_cast<uint8_t>(2 * k);
        byte[mask][2 * n + 1] = static_cast<uint8_t>(2 * k + 1);
        ++n;
      }
    }
  }
};
constexpr Orders orders;

struct Avx2 {
  static constexpr int64_t lanes = 8;
  struct Point {
    __m256 x, y, z;
  };
  using Distances = __m256;

  static Point broadcast(float x, float y, float z) {
    return {_mm256_set1_ps(x), _mm256_set1_ps(y), _mm256_set1_ps(z)};
  }

  static Distances squared_distances(const PackedSlots& slots, int64_t first, const Point& point) {
    const __m256 x = _mm256_sub_ps(_mm256_loadu_ps(slots.x + first), point.x);
    const __m256 y = _mm256_sub_ps(_mm256_loadu_ps(slots.y + first), point.y);
    const __m256 z = _mm256_sub_ps(_mm256_loadu_ps(slots.z + first), point.z);
    return _mm256_fmadd_ps(z, z, _mm256_fmadd_ps(y, y, _mm256_mul_ps(x, x)));
  }

  static uint32_t below(Distances distances, float limit) {
    return static_cast<uint32_t>(
        _mm256_movemask_ps(_mm256_cmp_ps(distances, _mm256_set1_ps(limit), _CMP_LT_OQ)));
  }

  static void copy(const void* from, void* to) {
    _mm256_storeu_si256(static_cast<__m256i*>(to), _mm256_loadu_si256(static_cast<const __m256i*>(from)));
  }

  static bool replace(const int32_t* table, int32_t* values) {
    auto* place = reinterpret_cast<__m256i*>(values);
    const __m256i found = _mm256_i32gather_epi32(table, _mm256_loadu_si256(place), 4);
    if (_mm256_movemask_ps(_mm256_castsi256_ps(found)) != 0) return false;
    _mm256_storeu_si256(place, found);
    return true;
  }

  static Distances zeros() { return _mm256_setzero_ps(); }

  static Distances farthest(Distances distances, uint32_t chosen, Distances so_far) {
    const __m256i bits = _mm256_set_epi32(128, 64, 32, 16, 8, 4, 2, 1);
    const __m256i lanes_chosen = _mm256_and_si256(_mm256_set1_epi32(static_cast<int32_t>(chosen)), bits);
    const __m256 keep = _mm256_castsi256_ps(_mm256_cmpeq_epi32(lanes_chosen, bits));
    return _mm256_max_ps(so_far, _mm256_and_ps(distances, keep));
  }

  static void compress(uint32_t chosen, const int32_t* from, int32_t* to) {
    const __m256i order = _mm256_load_si256(reinterpret_cast<const __m256i*>(orders.lane[chosen]));
    const __m256i values = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm256_permutevar8x32_epi32(values, order));
  }

  static void compress(uint32_t chosen, const uint16_t* from, uint16_t* to) {
    const __m128i order = _mm_load_si128(reinterpret_cast<const __m128i*>(orders.byte[chosen]));
    const __m128i values = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm_shuffle_epi8(values, order));
  }
};

}  // namespace

extern const Filter filter_avx2;
const Filter filter_avx2{pack_with<Avx2>, around_with<Avx2>, number_with<Avx2>};

}  // namespace distmlip::kernels
