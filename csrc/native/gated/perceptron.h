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
    std::vector<Buffer<T>> hidden, hidden_slopes;  ///< before each hidden layer
    Buffer<T> x, out, slopes, roots;
  };
  Memory memory() const;

  /// memory.out (n, channels) of sums of n_sources rows each. `keep`: for backward(), in the memory or, if
  /// that is not null, elsewhere.
  void forward(int n, int n_sources, const T* const* sources, Memory& memory, bool keep,
               T* elsewhere = nullptr) const;
  /// From gradients (n, channels) of memory.out to those of the sums, which are added to n_targets rows each,
  /// and returned: (n, sums).
  const T* backward(int n, const T* gradients, int n_targets, T* const* targets, Memory& memory,
                    const T* elsewhere = nullptr) const;

  /// Numbers of a row that stay elsewhere.
  int64_t kept_per_row() const;
  /// Before backward(): what a forward() of n rows left elsewhere, memory.out among it.
  void restore(int n, const T* elsewhere, Memory& memory) const;

 private:
  /// Halves of rows, [core | gate], go through matrices of their own.
  struct Layer {
    Projection<T> core, gate;
    std::vector<T> bias;
    int inputs() const { return 2 * core.inputs(); }
    int outputs() const { return 2 * core.outputs(); }
    void apply(int n, const T* x, T* y) const;
    void back(int n, const T* y, T* x) const;
  };

  bool is_normalised() const { return !scales_.empty(); }
  /// Where in such memory: slopes before hidden layer k, or behind all of them; then what is copied.
  int64_t slopes_at(size_t k) const;
  int64_t n_copied() const { return channels_ + (is_normalised() ? 2 * channels_ + 2 : 0); }

  const Operators<T>& operators_;
  int channels_, sums_;
  std::vector<Layer> hidden_;
  std::vector<T> scales_, shifts_;
  kernels::irreps::Gate<T> gate_;
};

}  // namespace distmlip::native::gated
