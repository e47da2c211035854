// All operators of one instruction set: included by one source file per set.
#pragma once

#include "kernels/irreps/contraction_inline.h"
#include "kernels/irreps/convolution_inline.h"
#include "kernels/irreps/exponential_inline.h"
#include "kernels/irreps/frames_back_inline.h"
#include "kernels/irreps/gated_degrees_inline.h"
#include "kernels/irreps/gated_inline.h"
#include "kernels/irreps/harmonics_inline.h"
#include "kernels/irreps/layer_norm_inline.h"
#include "kernels/irreps/row_sums_inline.h"
#include "kernels/irreps/scaling_inline.h"
#include "kernels/irreps/tables_inline.h"
#include "kernels/irreps/tensors_inline.h"
#include "kernels/irreps/waves_inline.h"

namespace distmlip::kernels::irreps {
namespace {

template <class T>
void silu(int n, const T* x, T factor, T* y, T* derivative) {
  for (int k = 0; k < n; k += lanes<T>) {
    const Vec<T> value = load<T>(x + k), sigmoid = T(1) / (exponential<T>(-value) + T(1)),
                 out = value * sigmoid;
    store<T>(y + k, out * factor);
    store<T>(derivative + k, (sigmoid + out * (T(1) - sigmoid)) * factor);
  }
}

template <class T>
void tanh(int n, const T* x, T factor, T* y, T* derivative) {
  for (int k = 0; k < n; k += lanes<T>) {
    const Vec<T> value = load<T>(x + k), out = T(1) - T(2) / (exponential<T>(value * T(2)) + T(1));
    store<T>(y + k, out * factor);
    store<T>(derivative + k, (T(1) - out * out) * factor);
  }
}

template <class T>
constexpr Operators<T> set{
    packed_size<T>,
    pack<T>,
    multiply<T>,
    harmonics<T>,
    harmonics_back<T>,
    chebyshev<T>,
    look_up<T>,
    convolve<T>,
    convolve_back<T>,
    contract<T>,
    contract_back<T>,
    silu<T>,
    tanh<T>,
    scale<T>,
    scale_back<T>,
    function_of_tensors<T, OfHarmonics>,
    function_of_tensors<T, Norm>,
    function_of_tensors<T, Norms>,
    function_of_tensors<T, Normalised>,
    function_of_two<T, Anticommutator>,
    function_of_two<T, TwiceProduct>,
    function_of_two<T, PlusSquare>,
    {sum_rows<T>, silu_of_sums<T>, gated<T>, gated_back<T>, layer_norm<T>, layer_norm_back<T>, weigh<T>,
     weigh_back<T>, add_to_rows<T>, add_dots<T>, bessel<T>, fourier<T>},
    {into_frames<T>, out_of_frames<T>, gate_degrees<T>, gate_degrees_back<T>, add_outer<T>,
     add_outer_back<T>},
    lanes<T>,
    panel * lanes<T>};

}  // namespace
}  // namespace distmlip::kernels::irreps
