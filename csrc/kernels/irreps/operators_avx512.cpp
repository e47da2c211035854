#define DISTMLIP_VECTOR_BYTES 64
#include "kernels/irreps/set_inline.h"

namespace distmlip::kernels::irreps {

extern const Operators<float> operators_avx512_f32;
extern const Operators<double> operators_avx512_f64;
const Operators<float> operators_avx512_f32 = set<float>;
const Operators<double> operators_avx512_f64 = set<double>;

}  // namespace distmlip::kernels::irreps
