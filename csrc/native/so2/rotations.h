// Rotations into frames whose second axis is along a vector, of real spherical harmonics in e3nn's order.
#pragma once

#include <vector>

#include "kernels/irreps/frame_operators.h"

namespace distmlip::native::so2 {

class Rotations {
 public:
  using Turn = kernels::irreps::Turn<double>;

  /// Throws std::invalid_argument for degrees that no kernel knows.
  explicit Rotations(int lmax);

  int size() const { return kernels::irreps::rotations_below(lmax_ + 1); }
  /// Matrices of all degrees, [degree][2l+1][2l+1], for a vector of length one. How the frame is turned about
  /// it is no matter: what convolutions make of it does not change. Those of degree one are its axes.
  void evaluate(const double* direction, double* matrices) const;
  /// Of each degree.
  const std::vector<std::vector<Turn>>& turns() const { return turns_; }

 private:
  /// Matrices are sums of products of elements of that of degree one and of that of the degree below
  /// (J. Ivanic and K. Ruedenberg, J. Phys. Chem. 100, 6342 (1996), and 102, 9099 (1998)).
  struct Term {
    double factor;
    int of_first, of_lower;
  };
  void add_terms(int degree, int row, int column);
  void add_product(int degree, int axis, int row, int column, double factor);
  void find_turns(int about);

  int lmax_;
  std::vector<Term> terms_;
  std::vector<size_t> first_term_;  ///< of each element from degree two on, and the end
  std::vector<std::vector<Turn>> turns_;
};

}  // namespace distmlip::native::so2
