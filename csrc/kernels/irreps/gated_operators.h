// What gated messages of edges and angles are made of (csrc/native/gated), on rows of several of them.
#pragma once

#include <cstddef>

namespace distmlip::kernels::irreps {

/// Of rows [core | gate]: silu(core) · sigmoid(gate).
template <class T>
struct Gate {
  int width;        ///< channels of either half, a multiple of the padding
  const T* scales;  ///< [core | gate]: both halves are divided by the root of their mean square first, and
  const T* shifts;  ///< scaled and shifted; null: they are not
  T epsilon;        ///< of that mean
};

template <class T>
struct GatedOperators {
  /// Of n_rows rows of n channels (a multiple of the padding): out = Σ sources[row][k].
  void (*sum_rows)(int n_rows, int n, int n_sources, const T* const* sources, T* out);
  /// silu of such sums, and its slopes unless they are null.
  void (*silu_of_sums)(int n_rows, int n, int n_sources, const T* const* sources, T* out, T* slopes);
  /// out (n_rows, width) of x (n_rows, 2 width). For the way back, unless `slopes` (as x) are null: those
  /// with respect to what was normalised, which is written over x. `roots`: [row][half], and a vector behind.
  void (*gated)(const Gate<T>& gate, int n_rows, T* x, T* out, T* slopes, T* roots);
  /// From gradients (n_rows, width) to those of what x was, which are written over it.
  void (*gated_back)(const Gate<T>& gate, int n_rows, const T* gradients, const T* slopes, const T* roots,
                     T* x);
  /// Of n_rows rows of n numbers: without their mean, over the root of their variance plus epsilon, which is
  /// kept unless `kept` is null, times scales plus shifts; written over x. `roots`: [row].
  void (*layer_norm)(int n_rows, int n, const T* scales, const T* shifts, T epsilon, T* x, T* kept, T* roots);
  /// The adjoint, over the gradients.
  void (*layer_norm_back)(int n_rows, int n, const T* scales, const T* kept, const T* roots, T* gradients);
  /// out[row] += x · weights[row][0] · weights[row][1]; the second may be null.
  void (*weigh)(int n_rows, int n, const T* x, const T* const* weights, T* const* out);
  /// The adjoint: gradients of x are written over it, those of weights are added.
  void (*weigh_back)(int n_rows, int n, T* x, const T* const* gradients, const T* const* weights,
                     T* const* weight_gradients);
  /// Adds rows, times slopes unless these are null, to targets[row][k]. Such products are written over x.
  void (*add_to_rows)(int n_rows, int n, T* x, const T* slopes, int n_targets, T* const* targets);
  /// out[row] += a[row] · b[row]
  void (*add_dots)(int n_rows, int n, const T* a, std::ptrdiff_t a_stride, const T* b,
                   std::ptrdiff_t b_stride, T* out);

  /// Rows [n values, n derivatives] of factor · sin(frequency · length), `slopes` the derivatives of factors.
  void (*bessel)(int n_rows, int n, const double* lengths, const double* frequencies, const T* factors,
                 const T* slopes, T* out);
  /// Rows [n sines, n cosines, their derivatives] of frequency · angle.
  void (*fourier)(int n_rows, int n, const double* angles, const double* frequencies, T* out);
};

}  // namespace distmlip::kernels::irreps
