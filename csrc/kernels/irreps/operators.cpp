#include "kernels/irreps/operators.h"

namespace distmlip::kernels::irreps {

extern const Operators<float> operators_portable_f32;
extern const Operators<double> operators_portable_f64;
#ifdef DISTMLIP_X86_SIMD
extern const Operators<float> operators_avx512_f32, operators_avx2_f32;
extern const Operators<double> operators_avx512_f64, operators_avx2_f64;
#endif

template <>
const Operators<float>& operators<float>(Simd simd) {
#ifdef DISTMLIP_X86_SIMD
  if (simd == Simd::avx512) return operators_avx512_f32;
  if (simd == Simd::avx2) return operators_avx2_f32;
#endif
  static_cast<void>(simd);
  return operators_portable_f32;
}

template <>
const Operators<double>& operators<double>(Simd simd) {
#ifdef DISTMLIP_X86_SIMD
  if (simd == Simd::avx512) return operators_avx512_f64;
  if (simd == Simd::avx2) return operators_avx2_f64;
#endif
  static_cast<void>(simd);
  return operators_portable_f64;
}

}  // namespace distmlip::kernels::irreps
