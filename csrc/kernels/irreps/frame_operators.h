// What edges do in frames of their own, whose second axis is along the edge (csrc/native/so2): there
// functions of the angle about that axis, of orders m and -m, go through products of their own.
#pragma once

#include <cstddef>

namespace distmlip::kernels::irreps {

constexpr int largest_rotated = 4;  ///< degree

/// Elements of the rotation matrices of all degrees below this one, which stand one behind the other.
constexpr int rotations_below(int degree) { return degree * (4 * degree * degree - 1) / 3; }

/// Atoms have rows of `channels` numbers, of all orders of degrees up to lmax, in e3nn's order. Edges have
/// those of orders up to mmax: of order 0 and of each degree; of real parts of order 1 (1), of imaginary ones
/// (-1), of order 2, …
struct FrameShape {
  int lmax, mmax, channels;
  int n_degrees(int order) const { return lmax - order + 1; }
  int n_rows() const {
    int n = n_degrees(0);
    for (int m = 1; m <= mmax; ++m) n += 2 * n_degrees(m);
    return n;
  }
};

/// A small turn of a frame about its first (0) or third (1) axis adds `factor` times row `from` to row `to`.
template <class T>
struct Turn {
  int about, to, from;
  T factor;
};
/// Of degree l: [first[l], first[l + 1]).
template <class T>
struct Turns {
  const Turn<T>* all;
  const int* first;
};

template <class T>
struct FrameOperators {
  /// Rows of two atoms, a sender and a receiver, for each edge. Its own, of order m: of each degree from m on
  /// 2 · channels numbers, times those of `radial`, which has the orders one behind the other. to[0]: of
  /// order 0, [edge]; to[3 m - 2] and on: sums of real and imaginary parts, real, and imaginary parts.
  void (*into_frames)(const FrameShape& shape, int n_edges, const T* const* atoms, const T* rotations,
                      const T* radial, std::ptrdiff_t radial_stride, T* const* to);
  /// The adjoint. gradients[0]: of order 0; gradients[2 m - 1] and on: of real and of imaginary parts.
  /// `radial`: [edge][value, derivative]. Adds to gradients of atoms, and writes those by turns and by the
  /// length, [edge][3]; up to a vector past them.
  void (*out_of_frames)(const FrameShape& shape, const Turns<T>& turns, int n_edges, const T* const* atoms,
                        const T* rotations, const T* radial, std::ptrdiff_t radial_stride,
                        const T* const* gradients, T* const* atom_gradients, T* edge_gradients);

  /// From [lmax gates | rows of edges] to rows of edges: silu of the first, the others times the sigmoid of
  /// the gate of their degree.
  void (*gate_degrees)(const FrameShape& shape, int n_edges, const T* x, T* out);
  /// The adjoint. to[0]: of gates and order 0; to[3 m - 2] and on: as of into_frames.
  void (*gate_degrees_back)(const FrameShape& shape, int n_edges, const T* x, const T* gradients,
                            T* const* to);

  /// sums[j] += Σ_k coefficients[k][j] rows[k], for one row or two; sums are `stride` apart.
  void (*add_outer)(int n_sums, int n_rows, int width, const T* coefficients, const T* rows, T* sums,
                    std::ptrdiff_t stride);
  /// The adjoint: writes gradients of rows and of coefficients, up to a vector past these.
  void (*add_outer_back)(int n_sums, int n_rows, int width, const T* coefficients, const T* rows,
                         const T* gradients, std::ptrdiff_t stride, T* row_gradients,
                         T* coefficient_gradients);
};

}  // namespace distmlip::kernels::irreps
