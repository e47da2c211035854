// Gated perceptrons on a block of rows.
#pragma once

#include "native/gated/parameters.h"
#include "native/gated/projection.h"

namespace distmlip::native::gated {

template <class T>
class Perceptron {
 public:
  /// Throws std::invalid_argument if the parameters do not fit together.
  Perceptron(const Operators<T>& operators, const PerceptronParameters& parameters, int channels, int sums);
  Perceptron(Perceptron&&) = default;  // no copies: the gate points into vectors here

  /// Of up to rows_per_block rows.
  struct Memory {
    Buffer<T> hidden, hidden_slopes, x, out, slopes, roots;
  };
  Memory memory() const;

  /// memory.out (n, channels) of sums of n_sources rows each. `keep`: for backward().
  void forward(int n, int n_sources, const T* const* sources, Memory& memory, bool keep) const;
  /// From gradients (n, channels) of memory.out to those of the sums, which are added to n_targets rows each,
  /// and returned: (n, sums).
  const T* backward(int n, const T* gradients, int n_targets, T* const* targets, Memory& memory) const;

 private:
  const Operators<T>& operators_;
  int channels_, sums_;
  std::vector<Projection<T>> hidden_;  ///< of core and gate
  std::vector<T> bias_, scales_, shifts_;
  kernels::irreps::Gate<T> gate_;
};

}  // namespace distmlip::native::gated
