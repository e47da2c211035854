// Functions of tensors of rank two on rows of atoms, a vector of channels at a time.
#pragma once

#include "kernels/irreps/vectors_inline.h"
#include "kernels/tensor_functions.h"

namespace distmlip::kernels::irreps {
namespace {

template <class T, int N>
DISTMLIP_INLINE Numbers<Vec<T>, N> load_numbers(const T* row, int n_channels) {
  Numbers<Vec<T>, N> x;
  for (int k = 0; k < N; ++k) x.of[k] = load<T>(row + k * n_channels);
  return x;
}
template <class T>
DISTMLIP_INLINE Tensor<Vec<T>> load_tensor(const T* row, int n_channels) {
  return load_numbers<T, n_tensor>(row, n_channels);
}

template <class T, int N>
DISTMLIP_INLINE void store_numbers(T* row, int n_channels, const Numbers<Vec<T>, N>& x) {
  for (int k = 0; k < N; ++k) store<T>(row + k * n_channels, x.of[k]);
}

template <class T>
DISTMLIP_INLINE void add_tensor(T* row, int n_channels, const Tensor<Vec<T>>& x) {
  for (int k = 0; k < n_tensor; ++k) store<T>(row + k * n_channels, load<T>(row + k * n_channels) + x.of[k]);
}

template <class T, class F>
void of_tensors(int n, const T* x, T* out) {
  for (int c = 0; c < n; c += lanes<T>)
    store_numbers<T, F::n_outputs>(out + c, n, F::template of<Vec<T>>(load_tensor(x + c, n)));
}
template <class T, class F>
void of_tensors_back(int n, const T* x, const T* gradient, T* back) {
  for (int c = 0; c < n; c += lanes<T>) {
    Tensor<Vec<T>> value{};
    if constexpr (F::reads_back) value = load_tensor(x + c, n);
    add_tensor<T>(back + c, n,
                  F::template back<Vec<T>>(value, load_numbers<T, F::n_outputs>(gradient + c, n)));
  }
}

template <class T, class F>
void of_two_tensors(int n, const T* a, const T* b, T* out) {
  for (int c = 0; c < n; c += lanes<T>)
    store_numbers<T, n_tensor>(out + c, n,
                               F::template of<Vec<T>>(load_tensor(a + c, n), load_tensor(b + c, n)));
}
template <class T, class F>
void of_two_tensors_back(int n, const T* a, const T* b, const T* gradient, T* a_back, T* b_back) {
  for (int c = 0; c < n; c += lanes<T>) {
    Tensor<Vec<T>> first{};
    if constexpr (F::reads_back) first = load_tensor(a + c, n);
    const BothBack<Vec<T>> back =
        F::template back<Vec<T>>(first, load_tensor(b + c, n), load_tensor(gradient + c, n));
    add_tensor<T>(a_back + c, n, back.a);
    add_tensor<T>(b_back + c, n, back.b);
  }
}

template <class T, class F>
constexpr TensorFunction<T> function_of_tensors{of_tensors<T, F>, of_tensors_back<T, F>, F::reads_back};
template <class T, class F>
constexpr TensorFunction2<T> function_of_two{of_two_tensors<T, F>, of_two_tensors_back<T, F>, F::reads_back};

}  // namespace
}  // namespace distmlip::kernels::irreps
