// MACE's symmetric contraction, driven by lists of monomials. Several atoms of one species share the loads of
// coefficients and of lists.
#pragma once

#include "kernels/irreps/vectors_inline.h"

namespace distmlip::kernels::irreps {
namespace {

template <class T, int ATOMS, class Row>
DISTMLIP_INLINE void load_rows(int n, Row* x, std::ptrdiff_t stride, int channel, Vec<T> (*rows)[ATOMS]) {
  for (int i = 0; i < n; ++i)
    for (int a = 0; a < ATOMS; ++a) rows[i][a] = load<T>(x[a] + i * stride + channel);
}

template <class T, int ATOMS>
DISTMLIP_INLINE void store_rows(int n, const Vec<T> (*rows)[ATOMS], T* const* x, std::ptrdiff_t stride,
                                int channel) {
  for (int i = 0; i < n; ++i)
    for (int a = 0; a < ATOMS; ++a) store<T>(x[a] + i * stride + channel, rows[i][a]);
}

template <class T, int ATOMS>
DISTMLIP_INLINE void contract_atoms(const Monomials& monomials, const T* coefficient, const T* const* x,
                                    std::ptrdiff_t x_stride, T* const* out, std::ptrdiff_t out_stride,
                                    int channel) {
  Vec<T> inputs[most_monomial_inputs][ATOMS];
  load_rows<T, ATOMS>(monomials.n_inputs, x, x_stride, channel, inputs);
  const auto* first = monomials.firsts;
  const auto* pair = monomials.pairs;
  const int16_t* triple = monomials.triples;
  for (int o = 0; o < monomials.n_outputs; ++o) {
    Vec<T> total[ATOMS] = {};
    for (int32_t n = 0; n < monomials.n_firsts[o]; ++n, ++first) {
      Vec<T> of_first[ATOMS] = {};
      if (first->has_coefficient) {
        for (int a = 0; a < ATOMS; ++a) of_first[a] = load<T>(coefficient);
        coefficient += lanes<T>;
      }
      for (int16_t p = 0; p < first->n_pairs; ++p, ++pair) {
        Vec<T> of_pair[ATOMS] = {};
        if (pair->has_coefficient) {
          for (int a = 0; a < ATOMS; ++a) of_pair[a] = load<T>(coefficient);
          coefficient += lanes<T>;
        }
        for (int16_t q = 0; q < pair->n_triples; ++q, ++triple, coefficient += lanes<T>) {
          const Vec<T> c = load<T>(coefficient);
          for (int a = 0; a < ATOMS; ++a) of_pair[a] += c * inputs[*triple][a];
        }
        for (int a = 0; a < ATOMS; ++a) of_first[a] += of_pair[a] * inputs[pair->x][a];
      }
      for (int a = 0; a < ATOMS; ++a) total[a] += of_first[a] * inputs[first->x][a];
    }
    for (int a = 0; a < ATOMS; ++a) store<T>(out[a] + o * out_stride + channel, total[a]);
  }
}

template <class T, int ATOMS>
DISTMLIP_INLINE void contract_atoms_back(const Monomials& monomials, const T* coefficient, const T* const* x,
                                         std::ptrdiff_t x_stride, const T* const* gradients,
                                         std::ptrdiff_t gradient_stride, T* const* x_gradients, int channel) {
  Vec<T> inputs[most_monomial_inputs][ATOMS], back[most_monomial_inputs][ATOMS];
  load_rows<T, ATOMS>(monomials.n_inputs, x, x_stride, channel, inputs);
  load_rows<T, ATOMS>(monomials.n_inputs, x_gradients, x_stride, channel, back);
  const auto* first = monomials.firsts;
  const auto* pair = monomials.pairs;
  const int16_t* triple = monomials.triples;
  for (int o = 0; o < monomials.n_outputs; ++o) {
    Vec<T> gradient[ATOMS];
    for (int a = 0; a < ATOMS; ++a) gradient[a] = load<T>(gradients[a] + o * gradient_stride + channel);
    for (int32_t n = 0; n < monomials.n_firsts[o]; ++n, ++first) {
      Vec<T> of_first[ATOMS] = {}, at_first[ATOMS];
      for (int a = 0; a < ATOMS; ++a) at_first[a] = gradient[a] * inputs[first->x][a];
      if (first->has_coefficient) {
        for (int a = 0; a < ATOMS; ++a) of_first[a] = load<T>(coefficient);
        coefficient += lanes<T>;
      }
      for (int16_t p = 0; p < first->n_pairs; ++p, ++pair) {
        Vec<T> of_pair[ATOMS] = {}, at_pair[ATOMS];
        for (int a = 0; a < ATOMS; ++a) at_pair[a] = at_first[a] * inputs[pair->x][a];
        if (pair->has_coefficient) {
          for (int a = 0; a < ATOMS; ++a) of_pair[a] = load<T>(coefficient);
          coefficient += lanes<T>;
        }
        for (int16_t q = 0; q < pair->n_triples; ++q, ++triple, coefficient += lanes<T>) {
          const Vec<T> c = load<T>(coefficient);
          for (int a = 0; a < ATOMS; ++a) {
            of_pair[a] += c * inputs[*triple][a];
            back[*triple][a] += c * at_pair[a];
          }
        }
        for (int a = 0; a < ATOMS; ++a) {
          of_first[a] += of_pair[a] * inputs[pair->x][a];
          back[pair->x][a] += at_first[a] * of_pair[a];
        }
      }
      for (int a = 0; a < ATOMS; ++a) back[first->x][a] += gradient[a] * of_first[a];
    }
  }
  store_rows<T, ATOMS>(monomials.n_inputs, back, x_gradients, x_stride, channel);
}

constexpr int atoms_together = has_32_registers ? 4 : 2;

/// Calls f.operator()<ATOMS>(first atom) for all of n atoms.
template <class F>
DISTMLIP_INLINE void for_atoms_together(int n, F f) {
  int first = 0;
  for (; first + atoms_together <= n; first += atoms_together) f.template operator()<atoms_together>(first);
  for (; first < n; ++first) f.template operator()<1>(first);
}

template <class T>
void contract(const Monomials& monomials, int n, int n_channels, int n_coefficients, const T* coefficients,
              const T* const* x, std::ptrdiff_t x_stride, T* const* out, std::ptrdiff_t out_stride) {
  for (int c = 0; c < n_channels; c += lanes<T>) {
    const T* of_channels = coefficients + static_cast<std::ptrdiff_t>(c) * n_coefficients;
    for_atoms_together(n, [&]<int ATOMS>(int first) {
      contract_atoms<T, ATOMS>(monomials, of_channels, x + first, x_stride, out + first, out_stride, c);
    });
  }
}

template <class T>
void contract_back(const Monomials& monomials, int n, int n_channels, int n_coefficients,
                   const T* coefficients, const T* const* x, std::ptrdiff_t x_stride,
                   const T* const* gradients, std::ptrdiff_t gradient_stride, T* const* x_gradients) {
  for (int c = 0; c < n_channels; c += lanes<T>) {
    const T* of_channels = coefficients + static_cast<std::ptrdiff_t>(c) * n_coefficients;
    for_atoms_together(n, [&]<int ATOMS>(int first) {
      contract_atoms_back<T, ATOMS>(monomials, of_channels, x + first, x_stride, gradients + first,
                                    gradient_stride, x_gradients + first, c);
    });
  }
}

}  // namespace
}  // namespace distmlip::kernels::irreps
