// Functions of tensors of rank two on rows of atoms, and their adjoints.
#pragma once

#include "kernels/irreps/tensor_algebra_inline.h"

namespace distmlip::kernels::irreps {
namespace {

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

}  // namespace
}  // namespace distmlip::kernels::irreps
