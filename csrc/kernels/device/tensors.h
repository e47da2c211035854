// Functions of tensors of rank two on a device: a thread has one channel of one atom.
#pragma once

#include <stdexcept>

#include "kernels/device/scale.h"
#include "kernels/tensor_functions.h"

namespace distmlip::kernels {

/// Where the numbers of a thread's channel begin in rows of so many numbers.
DISTMLIP_DEVICE inline int64_t first_number(int64_t k, int32_t n_channels, int n_numbers) {
  return k / n_channels * n_numbers * n_channels + k % n_channels;
}

template <class F, class Backend, class Real>
void of_one(const Backend& backend, const TensorRows<Real>& rows, Real* outputs) {
  const int32_t n = rows.n_channels;
  backend.for_each(rows.n_atoms * n, [=] DISTMLIP_DEVICE(int64_t k) {
    const auto x = load_numbers<Real, n_tensor>(rows.first + first_number(k, n, n_tensor), n);
    store_numbers(outputs + first_number(k, n, F::n_outputs), n, F::of(x));
  });
}
template <class F, class Backend, class Real>
void of_one_back(const Backend& backend, const TensorRows<Real>& rows, const Real* gradients,
                 Real* of_first) {
  const int32_t n = rows.n_channels;
  backend.for_each(rows.n_atoms * n, [=] DISTMLIP_DEVICE(int64_t k) {
    const int64_t place = first_number(k, n, n_tensor);
    const auto g = load_numbers<Real, F::n_outputs>(gradients + first_number(k, n, F::n_outputs), n);
    store_numbers(of_first + place, n, F::back(load_numbers<Real, n_tensor>(rows.first + place, n), g));
  });
}

template <class F, class Backend, class Real>
void of_two(const Backend& backend, const TensorRows<Real>& rows, Real* outputs) {
  const int32_t n = rows.n_channels;
  backend.for_each(rows.n_atoms * n, [=] DISTMLIP_DEVICE(int64_t k) {
    const int64_t place = first_number(k, n, n_tensor);
    store_numbers(outputs + place, n,
                  F::of(load_numbers<Real, n_tensor>(rows.first + place, n),
                        load_numbers<Real, n_tensor>(rows.second + place, n)));
  });
}
template <class F, class Backend, class Real>
void of_two_back(const Backend& backend, const TensorRows<Real>& rows, const Real* gradients, Real* of_first,
                 Real* of_second) {
  const int32_t n = rows.n_channels;
  backend.for_each(rows.n_atoms * n, [=] DISTMLIP_DEVICE(int64_t k) {
    const int64_t place = first_number(k, n, n_tensor);
    const BothBack<Real> back = F::back(load_numbers<Real, n_tensor>(rows.first + place, n),
                                        load_numbers<Real, n_tensor>(rows.second + place, n),
                                        load_numbers<Real, n_tensor>(gradients + place, n));
    store_numbers(of_first + place, n, back.a);
    store_numbers(of_second + place, n, back.b);
  });
}

template <class Backend, class Real>
void of_tensors(const Backend& backend, TensorOperation operation, const TensorRows<Real>& rows,
                Real* outputs) {
  switch (operation) {
    case TensorOperation::of_harmonics:
      return of_one<OfHarmonics>(backend, rows, outputs);
    case TensorOperation::norm:
      return of_one<Norm>(backend, rows, outputs);
    case TensorOperation::norms:
      return of_one<Norms>(backend, rows, outputs);
    case TensorOperation::normalised:
      return of_one<Normalised>(backend, rows, outputs);
    case TensorOperation::anticommutator:
      return of_two<Anticommutator>(backend, rows, outputs);
    case TensorOperation::twice_product:
      return of_two<TwiceProduct>(backend, rows, outputs);
    case TensorOperation::plus_square:
      return of_two<PlusSquare>(backend, rows, outputs);
  }
  throw std::logic_error("no function of tensors");
}

template <class Backend, class Real>
void of_tensors_back(const Backend& backend, TensorOperation operation, const TensorRows<Real>& rows,
                     const Real* gradients, Real* of_first, Real* of_second) {
  const auto one = [&](auto function) {
    of_one_back<decltype(function)>(backend, rows, gradients, of_first);
  };
  const auto two = [&](auto function) {
    of_two_back<decltype(function)>(backend, rows, gradients, of_first, of_second);
  };
  switch (operation) {
    case TensorOperation::of_harmonics:
      return one(OfHarmonics());
    case TensorOperation::norm:
      return one(Norm());
    case TensorOperation::norms:
      return one(Norms());
    case TensorOperation::normalised:
      return one(Normalised());
    case TensorOperation::anticommutator:
      return two(Anticommutator());
    case TensorOperation::twice_product:
      return two(TwiceProduct());
    case TensorOperation::plus_square:
      return two(PlusSquare());
  }
  throw std::logic_error("no function of tensors");
}

}  // namespace distmlip::kernels
