// Functions of the lengths of a block of edges, from tables that are as exact as their numbers.
#pragma once

#include <array>
#include <cmath>

#include "native/cells.h"
#include "native/directed/parameters.h"
#include "native/gated/projection.h"

namespace distmlip::native::directed {

using gated::rows_per_block;

template <class T>
class LengthTables {
 public:
  /// Throws std::invalid_argument for cells that do not fit together.
  LengthTables(const Operators<T>& operators, const TableParameters& parameters);

  int columns(int group) const { return groups_.at(static_cast<size_t>(group)).columns; }  ///< padded

  /// Where up to rows_per_block lengths are.
  struct Places {
    int n = 0, per = 1;  ///< rows of an edge: its values; 2: and their derivatives by the length
    std::array<int32_t, rows_per_block> edges, cells;  ///< those of one cell together
    Buffer<T> polynomials;
  };
  void find(int n, const double* lengths, int per, Places& places) const;

  /// Rows per · edge and on, `stride` apart, are those of an edge.
  void evaluate(int group, const Places& places, T* to, std::ptrdiff_t stride) const;

 private:
  struct Group {
    int columns;
    size_t offset;  ///< in a cell
  };
  const Operators<T>& operators_;
  Cells cells_;
  int n_coefficients_;
  std::vector<Group> groups_;
  size_t cell_stride_ = 0;
  Buffer<T> table_;
};

/// Å
template <class T>
double length_of(const T* vector) {
  double square = 0;
  for (int k = 0; k < 3; ++k) square += static_cast<double>(vector[k]) * static_cast<double>(vector[k]);
  return std::sqrt(square);
}

/// Functions of the lengths of some edges: rows (n, columns).
template <class T>
Buffer<T> functions_of(const LengthTables<T>& tables, int group, const std::vector<int32_t>& edges,
                       const T* vectors, int n_threads);
/// Adds to gradients of vectors, from those of such rows.
template <class T>
void functions_back(const LengthTables<T>& tables, int group, const Operators<T>& operators,
                    const std::vector<int32_t>& edges, const T* vectors, const T* gradients, T* to);

}  // namespace distmlip::native::directed
