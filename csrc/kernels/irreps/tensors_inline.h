// Tensors of rank two, 3 x 3 numbers for every channel: rows [9][channels] of I, A01, A02, A12, S00, S01,
// S02, S11, S12. A tensor is the sum of I times the identity, a skew-symmetric and a symmetric traceless
// part.
#pragma once

#include "kernels/irreps/harmonics_inline.h"

namespace distmlip::kernels::irreps {
namespace {

template <class T>
struct Tensor {
  Vec<T> of[n_tensor];
};

template <class T>
struct Square {
  Vec<T> at[3][3];
};

template <class T>
DISTMLIP_INLINE Tensor<T> load_tensor(const T* row, int n_channels) {
  Tensor<T> x;
  for (int k = 0; k < n_tensor; ++k) x.of[k] = load<T>(row + k * n_channels);
  return x;
}

template <class T>
DISTMLIP_INLINE void store_tensor(T* row, int n_channels, const Tensor<T>& x) {
  for (int k = 0; k < n_tensor; ++k) store<T>(row + k * n_channels, x.of[k]);
}

template <class T>
DISTMLIP_INLINE void add_tensor(T* row, int n_channels, const Tensor<T>& x) {
  for (int k = 0; k < n_tensor; ++k) store<T>(row + k * n_channels, load<T>(row + k * n_channels) + x.of[k]);
}

template <class T>
DISTMLIP_INLINE Square<T> square_of(const Tensor<T>& x) {
  const auto& [i, a01, a02, a12, s00, s01, s02, s11, s12] = x.of;
  return {{{i + s00, s01 + a01, s02 + a02},
           {s01 - a01, i + s11, s12 + a12},
           {s02 - a02, s12 - a12, i - s00 - s11}}};
}

/// Gradients of the nine numbers from those of the square.
template <class T>
DISTMLIP_INLINE Tensor<T> square_back(const Square<T>& g) {
  return {{g.at[0][0] + g.at[1][1] + g.at[2][2], g.at[0][1] - g.at[1][0], g.at[0][2] - g.at[2][0],
           g.at[1][2] - g.at[2][1], g.at[0][0] - g.at[2][2], g.at[0][1] + g.at[1][0], g.at[0][2] + g.at[2][0],
           g.at[1][1] - g.at[2][2], g.at[1][2] + g.at[2][1]}};
}

template <class T>
DISTMLIP_INLINE Tensor<T> parts_of(const Square<T>& m) {
  const T half = T(0.5);
  const Vec<T> i = (m.at[0][0] + m.at[1][1] + m.at[2][2]) * (T(1) / 3);
  return {{i, half * (m.at[0][1] - m.at[1][0]), half * (m.at[0][2] - m.at[2][0]),
           half * (m.at[1][2] - m.at[2][1]), m.at[0][0] - i, half * (m.at[0][1] + m.at[1][0]),
           half * (m.at[0][2] + m.at[2][0]), m.at[1][1] - i, half * (m.at[1][2] + m.at[2][1])}};
}

/// Gradients of the square from those of its parts.
template <class T>
DISTMLIP_INLINE Square<T> parts_back(const Tensor<T>& g) {
  const auto& [i, a01, a02, a12, s00, s01, s02, s11, s12] = g.of;
  const T half = T(0.5);
  const Vec<T> trace = (i - s00 - s11) * (T(1) / 3);
  return {{{trace + s00, half * (s01 + a01), half * (s02 + a02)},
           {half * (s01 - a01), trace + s11, half * (s12 + a12)},
           {half * (s02 - a02), half * (s12 - a12), trace}}};
}

/// left · right, either of them transposed.
template <class T, bool LEFT, bool RIGHT>
DISTMLIP_INLINE Square<T> product(const Square<T>& left, const Square<T>& right) {
  Square<T> out;
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j) {
      const auto term = [&](int k) __attribute__((always_inline)) {
        return (LEFT ? left.at[k][i] : left.at[i][k]) * (RIGHT ? right.at[j][k] : right.at[k][j]);
      };
      out.at[i][j] = term(0) + term(1) + term(2);
    }
  return out;
}

template <class T>
DISTMLIP_INLINE Square<T> sum(const Square<T>& a, const Square<T>& b) {
  Square<T> out;
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j) out.at[i][j] = a.at[i][j] + b.at[i][j];
  return out;
}

/// Squared norms of the three parts, and their gradient times one of each.
template <class T>
DISTMLIP_INLINE void squared_norms(const Tensor<T>& x, Vec<T>* norms) {
  const auto& [i, a01, a02, a12, s00, s01, s02, s11, s12] = x.of;
  norms[0] = T(3) * i * i;
  norms[1] = T(2) * (a01 * a01 + a02 * a02 + a12 * a12);
  norms[2] = T(2) * (s00 * s00 + s11 * s11 + s00 * s11 + s01 * s01 + s02 * s02 + s12 * s12);
}
template <class T>
DISTMLIP_INLINE Tensor<T> squared_norms_back(const Tensor<T>& x, const Vec<T>* g) {
  const auto& [i, a01, a02, a12, s00, s01, s02, s11, s12] = x.of;
  const Vec<T> of_a = T(4) * g[1], of_s = T(4) * g[2], half = T(2) * g[2];
  return {{T(6) * g[0] * i, of_a * a01, of_a * a02, of_a * a12, of_s * s00 + half * s11, of_s * s01,
           of_s * s02, of_s * s11 + half * s00, of_s * s12}};
}
template <class T>
DISTMLIP_INLINE Vec<T> squared_norm(const Tensor<T>& x) {
  Vec<T> norms[3];
  squared_norms<T>(x, norms);
  return norms[0] + norms[1] + norms[2];
}

template <class T>
DISTMLIP_INLINE Tensor<T> scaled(const Tensor<T>& x, Vec<T> factor) {
  Tensor<T> out;
  for (int k = 0; k < n_tensor; ++k) out.of[k] = factor * x.of[k];
  return out;
}

/// Gradient of x / (1 + |x|²).
template <class T>
DISTMLIP_INLINE Tensor<T> normalised_gradient(const Tensor<T>& x, const Tensor<T>& g) {
  const Vec<T> scale = T(1) / (T(1) + squared_norm<T>(x));
  Vec<T> along = g.of[0] * x.of[0];
  for (int k = 1; k < n_tensor; ++k) along += g.of[k] * x.of[k];
  const Vec<T> of_norm = -along * scale * scale, of_norms[3] = {of_norm, of_norm, of_norm};
  Tensor<T> back = squared_norms_back<T>(x, of_norms);
  for (int k = 0; k < n_tensor; ++k) back.of[k] += scale * g.of[k];
  return back;
}

template <class T>
void of_harmonics(int n, const T* x, T* out) {
  const T of_vector = 1 / root3<T>, of_tensor = 1 / (root5<T> * root3<T>), third = 2 / (3 * root5<T>);
  for (int c = 0; c < n; c += lanes<T>) {
    const Tensor<T> h = load_tensor(x + c, n);
    const Vec<T> yy = third * h.of[6], difference = 2 * of_tensor * h.of[8];  // S11, and S22 - S00
    store_tensor<T>(
        out + c, n,
        {{h.of[0], -of_vector * h.of[3], of_vector * h.of[2], -of_vector * h.of[1],
          T(-0.5) * (yy + difference), of_tensor * h.of[5], of_tensor * h.of[4], yy, of_tensor * h.of[7]}});
  }
}
template <class T>
void of_harmonics_back(int n, const T* /*x*/, const T* gradient, T* back) {
  const T of_vector = 1 / root3<T>, of_tensor = 1 / (root5<T> * root3<T>), third = 2 / (3 * root5<T>);
  for (int c = 0; c < n; c += lanes<T>) {
    const Tensor<T> g = load_tensor(gradient + c, n);
    const auto& [i, a01, a02, a12, s00, s01, s02, s11, s12] = g.of;
    add_tensor<T>(back + c, n,
                  {{i, -of_vector * a12, of_vector * a02, -of_vector * a01, of_tensor * s02, of_tensor * s01,
                    third * (s11 - T(0.5) * s00), of_tensor * s12, -of_tensor * s00}});
  }
}

template <class T>
void norm(int n, const T* x, T* out) {
  for (int c = 0; c < n; c += lanes<T>) store<T>(out + c, squared_norm<T>(load_tensor(x + c, n)));
}
template <class T>
void norm_back(int n, const T* x, const T* gradient, T* back) {
  for (int c = 0; c < n; c += lanes<T>) {
    const Vec<T> g = load<T>(gradient + c), all[3] = {g, g, g};
    add_tensor<T>(back + c, n, squared_norms_back<T>(load_tensor(x + c, n), all));
  }
}

template <class T>
void norms(int n, const T* x, T* out) {
  for (int c = 0; c < n; c += lanes<T>) {
    Vec<T> of_parts[3];
    squared_norms<T>(load_tensor(x + c, n), of_parts);
    for (int k = 0; k < 3; ++k) store<T>(out + k * n + c, of_parts[k]);
  }
}
template <class T>
void norms_back(int n, const T* x, const T* gradient, T* back) {
  for (int c = 0; c < n; c += lanes<T>) {
    const Vec<T> g[3] = {load<T>(gradient + c), load<T>(gradient + n + c), load<T>(gradient + 2 * n + c)};
    add_tensor<T>(back + c, n, squared_norms_back<T>(load_tensor(x + c, n), g));
  }
}

template <class T>
void normalised(int n, const T* x, T* out) {
  for (int c = 0; c < n; c += lanes<T>) {
    const Tensor<T> tensor = load_tensor(x + c, n);
    store_tensor<T>(out + c, n, scaled<T>(tensor, T(1) / (T(1) + squared_norm<T>(tensor))));
  }
}
template <class T>
void normalised_back(int n, const T* x, const T* gradient, T* back) {
  for (int c = 0; c < n; c += lanes<T>)
    add_tensor<T>(back + c, n, normalised_gradient<T>(load_tensor(x + c, n), load_tensor(gradient + c, n)));
}

/// a · b + b · a, or 2 a · b, as parts.
template <class T, bool BOTH>
DISTMLIP_INLINE Tensor<T> doubled_product(const Square<T>& a, const Square<T>& b) {
  const Square<T> ab = product<T, false, false>(a, b);
  return parts_of<T>(sum<T>(ab, BOTH ? product<T, false, false>(b, a) : ab));
}

template <class T, bool BOTH>
void normalised_product(int n, const T* a, const T* b, T* out) {
  for (int c = 0; c < n; c += lanes<T>) {
    const Tensor<T> p =
        doubled_product<T, BOTH>(square_of<T>(load_tensor(a + c, n)), square_of<T>(load_tensor(b + c, n)));
    store_tensor<T>(out + c, n, scaled<T>(p, T(1) / (T(1) + squared_norm<T>(p))));
  }
}
template <class T, bool BOTH>
void normalised_product_back(int n, const T* a, const T* b, const T* gradient, T* a_back, T* b_back) {
  for (int c = 0; c < n; c += lanes<T>) {
    const Square<T> left = square_of<T>(load_tensor(a + c, n)), right = square_of<T>(load_tensor(b + c, n));
    const Tensor<T> p = doubled_product<T, BOTH>(left, right);
    const Square<T> g = parts_back<T>(normalised_gradient<T>(p, load_tensor(gradient + c, n)));
    const Square<T> of_left = product<T, false, true>(g, right), of_right = product<T, true, false>(left, g);
    add_tensor<T>(a_back + c, n,
                  square_back<T>(sum<T>(of_left, BOTH ? product<T, true, false>(right, g) : of_left)));
    add_tensor<T>(b_back + c, n,
                  square_back<T>(sum<T>(of_right, BOTH ? product<T, false, true>(g, left) : of_right)));
  }
}

/// x + d + d · d
template <class T>
void plus_square(int n, const T* x, const T* d, T* out) {
  for (int c = 0; c < n; c += lanes<T>) {
    const Tensor<T> before = load_tensor(x + c, n), change = load_tensor(d + c, n);
    const Square<T> square = square_of<T>(change);
    Tensor<T> after = parts_of<T>(product<T, false, false>(square, square));
    for (int k = 0; k < n_tensor; ++k) after.of[k] += before.of[k] + change.of[k];
    store_tensor<T>(out + c, n, after);
  }
}
template <class T>
void plus_square_back(int n, const T* /*x*/, const T* d, const T* gradient, T* x_back, T* d_back) {
  for (int c = 0; c < n; c += lanes<T>) {
    const Square<T> change = square_of<T>(load_tensor(d + c, n));
    const Tensor<T> given = load_tensor(gradient + c, n);
    const Square<T> g = parts_back<T>(given);
    add_tensor<T>(x_back + c, n, given);
    Tensor<T> back =
        square_back<T>(sum<T>(product<T, false, true>(g, change), product<T, true, false>(change, g)));
    for (int k = 0; k < n_tensor; ++k) back.of[k] += given.of[k];
    add_tensor<T>(d_back + c, n, back);
  }
}

/// out[m][c] += Σ_edges radial[c] sender[m][c], for n_in rows.
template <class T, int ROWS>
DISTMLIP_INLINE void scale_rows(const PathEdges<T>& edges, T* out, std::ptrdiff_t out_stride) {
  for (int c = 0; c < edges.n_channels; c += lanes<T>) {
    Vec<T> sums[ROWS];
    for (int m = 0; m < ROWS; ++m) sums[m] = load<T>(out + m * out_stride + c);
    for (int e = 0; e < edges.n_edges; ++e) {
      const Vec<T> radial = load<T>(edges.radial + e * edges.radial_stride + c);
      for (int m = 0; m < ROWS; ++m)
        sums[m] += radial * load<T>(edges.senders[e] + m * edges.sender_stride + c);
    }
    for (int m = 0; m < ROWS; ++m) store<T>(out + m * out_stride + c, sums[m]);
  }
}

/// Of one row that all edges share, from the gradients at their other ends, which are the rows of `edges`.
template <class T, int ROWS>
DISTMLIP_INLINE void scale_rows_back(const PathEdges<T>& edges, const T* row, T* back, std::ptrdiff_t stride,
                                     T* length_gradients) {
  for (int e = 0; e < edges.n_edges; ++e) {
    const T* radial = edges.radial + 2 * e * edges.radial_stride;
    const T* slope = radial + edges.radial_stride;
    Vec<T> of_length{};
    for (int c = 0; c < edges.n_channels; c += lanes<T>) {
      const Vec<T> weight = load<T>(radial + c);
      Vec<T> along{};
      for (int m = 0; m < ROWS; ++m) {
        const Vec<T> g = load<T>(edges.senders[e] + m * edges.sender_stride + c);
        along += g * load<T>(row + m * stride + c);
        store<T>(back + m * stride + c, load<T>(back + m * stride + c) + weight * g);
      }
      of_length += along * load<T>(slope + c);
    }
    T sum[lanes<T>];
    sums_of_lanes<T, 1>(&of_length, sum);
    length_gradients[e] += sum[0];
  }
}

template <class T>
void scale(const PathEdges<T>& edges, T* out, std::ptrdiff_t out_stride) {
  const auto of = edges.n_in == 1 ? scale_rows<T, 1> : edges.n_in == 3 ? scale_rows<T, 3> : scale_rows<T, 5>;
  of(edges, out, out_stride);
}
template <class T>
void scale_back(const PathEdges<T>& edges, const T* row, T* back, std::ptrdiff_t stride,
                T* length_gradients) {
  const auto of = edges.n_in == 1   ? scale_rows_back<T, 1>
                  : edges.n_in == 3 ? scale_rows_back<T, 3>
                                    : scale_rows_back<T, 5>;
  of(edges, row, back, stride, length_gradients);
}

}  // namespace
}  // namespace distmlip::kernels::irreps
