// MACE's symmetric contraction on a device: a thread has one channel of one atom, so that all threads of a
// species walk through the same list, and neighbours read neighbouring coefficients.
#pragma once

#include "kernels/device/parallel.h"
#include "kernels/device_operators.h"

namespace distmlip::kernels {

/// The row and the coefficients of one thread's channel.
template <class Real>
struct Contracted {
  const Real* coefficient;
  Real x[most_monomial_inputs];
  int64_t row, channel;

  DISTMLIP_DEVICE Contracted(const Monomials& monomials, const ContractedAtoms<Real>& atoms, int64_t k)
      : row(k / atoms.n_channels), channel(k % atoms.n_channels) {
    coefficient = atoms.coefficients + atoms.species[row] * atoms.n_coefficients * atoms.n_channels + channel;
    for (int i = 0; i < monomials.n_inputs; ++i)
      x[i] = atoms.inputs[(row * monomials.n_inputs + i) * atoms.n_channels + channel];
  }

  DISTMLIP_DEVICE Real next(const ContractedAtoms<Real>& atoms) {
    const Real value = *coefficient;
    coefficient += atoms.n_channels;
    return value;
  }
};

template <class Backend, class Real>
void contract(const Backend& backend, const Monomials& monomials, const ContractedAtoms<Real>& atoms,
              Real* outputs) {
  backend.for_each(atoms.n_atoms * atoms.n_channels, [=] DISTMLIP_DEVICE(int64_t k) {
    Contracted<Real> mine(monomials, atoms, k);
    const auto* first = monomials.firsts;
    const auto* pair = monomials.pairs;
    const int16_t* triple = monomials.triples;
    for (int o = 0; o < monomials.n_outputs; ++o) {
      Real total = 0;
      for (int32_t n = 0; n < monomials.n_firsts[o]; ++n, ++first) {
        Real of_first = first->has_coefficient ? mine.next(atoms) : Real(0);
        for (int16_t p = 0; p < first->n_pairs; ++p, ++pair) {
          Real of_pair = pair->has_coefficient ? mine.next(atoms) : Real(0);
          for (int16_t q = 0; q < pair->n_triples; ++q, ++triple)
            of_pair += mine.next(atoms) * mine.x[*triple];
          of_first += of_pair * mine.x[pair->x];
        }
        total += of_first * mine.x[first->x];
      }
      outputs[(mine.row * monomials.n_outputs + o) * atoms.n_channels + mine.channel] = total;
    }
  });
}

template <class Backend, class Real>
void contract_back(const Backend& backend, const Monomials& monomials, const ContractedAtoms<Real>& atoms,
                   const Real* gradients, Real* input_gradients) {
  backend.for_each(atoms.n_atoms * atoms.n_channels, [=] DISTMLIP_DEVICE(int64_t k) {
    Contracted<Real> mine(monomials, atoms, k);
    Real back[most_monomial_inputs] = {};
    const auto* first = monomials.firsts;
    const auto* pair = monomials.pairs;
    const int16_t* triple = monomials.triples;
    for (int o = 0; o < monomials.n_outputs; ++o) {
      const Real gradient = gradients[(mine.row * monomials.n_outputs + o) * atoms.n_channels + mine.channel];
      for (int32_t n = 0; n < monomials.n_firsts[o]; ++n, ++first) {
        Real of_first = first->has_coefficient ? mine.next(atoms) : Real(0);
        const Real at_first = gradient * mine.x[first->x];
        for (int16_t p = 0; p < first->n_pairs; ++p, ++pair) {
          Real of_pair = pair->has_coefficient ? mine.next(atoms) : Real(0);
          const Real at_pair = at_first * mine.x[pair->x];
          for (int16_t q = 0; q < pair->n_triples; ++q, ++triple) {
            const Real c = mine.next(atoms);
            of_pair += c * mine.x[*triple];
            back[*triple] += c * at_pair;
          }
          of_first += of_pair * mine.x[pair->x];
          back[pair->x] += at_first * of_pair;
        }
        back[first->x] += gradient * of_first;
      }
    }
    for (int i = 0; i < monomials.n_inputs; ++i)
      input_gradients[(mine.row * monomials.n_inputs + i) * atoms.n_channels + mine.channel] = back[i];
  });
}

}  // namespace distmlip::kernels
