// Inner loops of equivariant models on raw pointers, one set per instruction set and precision.
//
// Rows of atoms are [2l+1][channels] for each irrep, channels padded to a multiple of `padding`, so that
// every loop runs over whole vectors. A matrix that stands on the right of a product is packed once by the
// set that uses it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/irreps/frame_operators.h"
#include "kernels/irreps/gated_operators.h"
#include "kernels/monomials.h"
#include "kernels/simd.h"

namespace distmlip::kernels::irreps {

constexpr int padding = 16;  ///< elements: at least a vector of every instruction set
constexpr int padded(int n) { return (n + padding - 1) / padding * padding; }

constexpr int largest_degree = 3;
constexpr int n_harmonics = 16;        ///< (largest_degree + 1)²
constexpr int most_coefficients = 16;  ///< of a table: the stride of a row of Chebyshev polynomials

/// Values of one path of a convolution for the edges of one receiver.
template <class T>
struct PathEdges {
  int n_in, n_out;          ///< 2l+1 of the sender's irrep and of the message's
  int n_edges, n_channels;  ///< channels: padded
  const T* radial;          ///< [edge] forward; [edge][value, derivative] backward
  std::ptrdiff_t radial_stride;
  const T* const* senders;  ///< of each edge: [n_in] rows
  std::ptrdiff_t sender_stride;
  const T* couplings;  ///< [edge]: [n_in][n_out], Σ_m CG Y_m
  std::ptrdiff_t coupling_stride;
};

/// Of every channel of one atom's row of tensors of rank two (kernels/tensor_functions.h), or of two; n
/// channels (padded). The way back adds.
template <class T>
struct TensorFunction {
  void (*forward)(int n, const T* x, T* out);
  void (*backward)(int n, const T* x, const T* gradient, T* back);
  bool reads_back;  ///< whether the way back reads x
};
template <class T>
struct TensorFunction2 {
  void (*forward)(int n, const T* a, const T* b, T* out);
  void (*backward)(int n, const T* a, const T* b, const T* gradient, T* a_back, T* b_back);
  bool reads_first_back;  ///< whether the way back reads a
};

template <class T>
struct Operators {
  /// Elements that a packed matrix (k, n) takes; n is padded.
  size_t (*packed_size)(int k, int n);
  void (*pack)(int k, int n, const double* values, std::ptrdiff_t row_stride, std::ptrdiff_t column_stride,
               T* packed);
  /// c[i] (+)= Σ_k a[i][k · a_stride] b[k] for m rows of so many columns: all of a packed matrix from a
  /// panel on (padded), or a whole number of panels.
  void (*multiply)(int m, const T* const* a, std::ptrdiff_t a_stride, int k, int columns, const T* packed,
                   T* const* c, bool accumulate);

  /// Real spherical harmonics up to degree 3 of unit vectors times `sign`, [edge][16], component
  /// normalisation, e3nn's order; and lengths.
  void (*harmonics)(int n_edges, const T* const* vectors, T sign, T* values, T* lengths);
  /// Adds to nothing: gradients of vectors from those of harmonics and of lengths.
  void (*harmonics_back)(int n_edges, const T* const* vectors, T sign, const T* gradients,
                         const T* length_gradients, T* const* vector_gradients);

  /// Chebyshev polynomials at t, [edge][16]; per == 2: and their derivatives times `scale`, as a row behind.
  void (*chebyshev)(int n_edges, int n_coefficients, int per, const T* t, const T* scale, T* polynomials);
  /// Rows `per · places[e]` and on of out = rows `per · e` and on of polynomials · table[cells[e]]; edges of
  /// one cell stand together. A cell holds a packed matrix (n_coefficients, columns) in each `cell_stride`
  /// elements.
  void (*look_up)(int n_edges, int per, int n_coefficients, int columns, const int32_t* cells,
                  const int32_t* places, const T* polynomials, const T* table, size_t cell_stride, T* out,
                  std::ptrdiff_t out_stride);

  /// out[m][c] += Σ_edges radial[c] Σ_i sender[i][c] coupling[i][m].
  void (*convolve)(const PathEdges<T>& edges, T* out, std::ptrdiff_t out_stride);
  /// The adjoint: adds to sender_gradients (null: none are wanted), writes gradients of couplings, and behind
  /// them that of the length through the radial function. Writes up to a vector past that.
  void (*convolve_back)(const PathEdges<T>& edges, const T* gradient, std::ptrdiff_t gradient_stride,
                        T* const* sender_gradients, T* coupling_gradients,
                        std::ptrdiff_t coupling_gradient_stride);

  /// Of n atoms of one species; rows of x are `x_stride` apart, those of out `out_stride`. Coefficients:
  /// [channel block of a vector][monomial][vector].
  void (*contract)(const Monomials& monomials, int n, int n_channels, int n_coefficients,
                   const T* coefficients, const T* const* x, std::ptrdiff_t x_stride, T* const* out,
                   std::ptrdiff_t out_stride);
  /// Adds to x_gradients.
  void (*contract_back)(const Monomials& monomials, int n, int n_channels, int n_coefficients,
                        const T* coefficients, const T* const* x, std::ptrdiff_t x_stride,
                        const T* const* gradients, std::ptrdiff_t gradient_stride, T* const* x_gradients);

  /// y = factor · silu(x) and dy/dx, for n values (a multiple of the padding).
  void (*silu)(int n, const T* x, T factor, T* y, T* derivative);
  void (*tanh)(int n, const T* x, T factor, T* y, T* derivative);

  /// out[m][c] += Σ_edges radial[c] sender[m][c] for the n_in rows of an irrep of at most degree 2.
  void (*scale)(const PathEdges<T>& edges, T* out, std::ptrdiff_t out_stride);
  /// The adjoint for a row that all edges share; `edges` have the gradients at their other ends for senders,
  /// and radial numbers [edge][value, derivative]. Adds to the row's gradient and to those of lengths.
  void (*scale_back)(const PathEdges<T>& edges, const T* row, T* back, std::ptrdiff_t stride,
                     T* length_gradients);

  TensorFunction<T> of_harmonics;                    ///< from harmonics of degree 0, 1 and 2
  TensorFunction<T> norm;                            ///< squared, one number
  TensorFunction<T> norms;                           ///< those of the three parts, [3][channels]
  TensorFunction<T> normalised;                      ///< x / (1 + |x|²)
  TensorFunction2<T> anticommutator, twice_product;  ///< normalised: of a b + b a, of 2 a b
  TensorFunction2<T> plus_square;                    ///< a + b + b b

  GatedOperators<T> gated;
  FrameOperators<T> frames;

  int n_lanes;
  int panel_width;  ///< columns; products may begin at a multiple of them in a packed matrix
};

/// Those of an instruction set that this processor has.
template <class T>
const Operators<T>& operators(Simd simd);

}  // namespace distmlip::kernels::irreps
