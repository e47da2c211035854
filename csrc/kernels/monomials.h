// Polynomials of few variables, as lists.
#pragma once

#include <cstdint>

namespace distmlip::kernels {

/// Monomials of a symmetric contraction, in the order of their coefficients:
/// out = Σ_i x_i (c_i + Σ_j x_j (c_ij + Σ_k c_ijk x_k)) for each output.
struct Monomials {
  struct First {
    int16_t x, n_pairs;
    bool has_coefficient;
  };
  struct Pair {
    int16_t x, n_triples;
    bool has_coefficient;
  };
  const int32_t* n_firsts;  ///< of each output
  const First* firsts;
  const Pair* pairs;
  const int16_t* triples;  ///< x of each
  int n_outputs, n_inputs;
};

constexpr int most_monomial_inputs = 16;

}  // namespace distmlip::kernels
