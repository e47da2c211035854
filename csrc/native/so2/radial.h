// Functions of an edge's length and of its elements, and their derivatives by the length.
#pragma once

#include "native/cells.h"
#include "native/gated/projection.h"
#include "native/so2/parameters.h"

namespace distmlip::native::so2 {

/// Edges that go through products together.
constexpr int edges_per_block = gated::rows_per_multiplication;

template <class T>
class RadialFunctions {
 public:
  /// Throws std::invalid_argument for parameters that do not fit together.
  RadialFunctions(const Operators<T>& operators, const RadialParameters& parameters, int n_pairs);

  int columns() const { return columns_; }
  /// Edges with the same one read the same numbers of tables: they should stand together.
  int place_of(int pair, double length) const;

  /// Scratch of one thread.
  struct Memory {
    Buffer<T> polynomials, in, out, kept, slopes;
    std::vector<T> roots;
  };
  /// Rows [edge][per] of up to edges_per_block edges; per == 2: values and derivatives. `pairs`: receiver's
  /// species · n_species + sender's.
  void evaluate(int n, int per, const double* lengths, const int32_t* pairs, Memory& memory, T* to) const;

 private:
  struct Norm {
    std::vector<T> scales, shifts;
    T epsilon;
  };
  bool has_tables() const { return cells_.n() > 0; }
  void read_tables(const RadialParameters& parameters, int n_pairs);
  void read_network(const RadialParameters& parameters, int n_pairs);
  void look_up(int n, int per, const double* lengths, const int32_t* pairs, Memory& memory, T* to) const;
  void expand(int n, int per, const double* lengths, Memory& memory) const;
  void start_with_biases(size_t layer, int n, const int32_t* pairs, gated::Rows<T> to) const;
  void activate(size_t layer, int n, int per, Memory& memory) const;

  const Operators<T>& operators_;
  int columns_;
  // Tables.
  Cells cells_;
  int n_coefficients_ = 0;
  size_t cell_stride_ = 0;
  Buffer<T> tables_;
  // The network.
  std::vector<double> centres_;
  double exponent_;
  std::vector<PackedMatrix<T>> layers_;
  std::vector<std::vector<T>> biases_;  ///< of the first layer: of all pairs
  std::vector<Norm> norms_;
  std::vector<T> ones_;
  int widest_ = 0;  ///< of what layers read
};

}  // namespace distmlip::native::so2
