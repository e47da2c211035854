// Compiled with AVX-512 enabled (CMakeLists.txt); called only where the processor has it.
#include <immintrin.h>

#include "kernels/distance_filter_inline.h"

namespace distmlip::kernels {
namespace {

struct Avx512 {
  static constexpr int64_t lanes = 16;
  struct Point {
    __m512 x, y, z;
  };
  using Distances = __m512;

  static Point broadcast(float x, float y, float z) {
    return {_mm512_set1_ps(x), _mm512_set1_ps(y), _mm512_set1_ps(z)};
  }

  static Distances squared_distances(const PackedSlots& slots, int64_t first, const Point& point) {
    const __m512 x = _mm512_sub_ps(_mm512_loadu_ps(slots.x + first), point.x);
    const __m512 y = _mm512_sub_ps(_mm512_loadu_ps(slots.y + first), point.y);
    const __m512 z = _mm512_sub_ps(_mm512_loadu_ps(slots.z + first), point.z);
    return _mm512_fmadd_ps(z, z, _mm512_fmadd_ps(y, y, _mm512_mul_ps(x, x)));
  }

  static uint32_t below(Distances distances, float limit) {
    return _mm512_cmp_ps_mask(distances, _mm512_set1_ps(limit), _CMP_LT_OQ);
  }

  static void copy(const void* from, void* to) { _mm512_storeu_si512(to, _mm512_loadu_si512(from)); }

  static bool replace(const int32_t* table, int32_t* values) {
    const __m512i found = _mm512_i32gather_epi32(_mm512_loadu_si512(values), table, 4);
    if (_mm512_movepi32_mask(found) != 0) return false;
    _mm512_storeu_si512(values, found);
    return true;
  }

  static Distances zeros() { return _mm512_setzero_ps(); }

  static Distances farthest(Distances distances, uint32_t chosen, Distances so_far) {
    return _mm512_mask_max_ps(so_far, static_cast<__mmask16>(chosen), so_far, distances);
  }

  // Compressed in a register and stored whole: a compressing store to memory is slow on some processors.
  static void compress(uint32_t chosen, const int32_t* from, int32_t* to) {
    const auto mask = static_cast<__mmask16>(chosen);
    _mm512_storeu_si512(to, _mm512_maskz_compress_epi32(mask, _mm512_loadu_si512(from)));
  }

  static void compress(uint32_t chosen, const uint16_t* from, uint16_t* to) {
    const __m256i narrow = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    const __m512i wide =
        _mm512_maskz_compress_epi32(static_cast<__mmask16>(chosen), _mm512_cvtepu16_epi32(narrow));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtepi32_epi16(wide));
  }
};

}  // namespace

extern const Filter filter_avx512;
const Filter filter_avx512{pack_with<Avx512>, around_with<Avx512>, number_with<Avx512>};

}  // namespace distmlip::kernels
