// A constant matrix on the right of products, packed for an instruction set.
#pragma once

#include <span>

#include "core/buffer.h"
#include "kernels/irreps/operators.h"

namespace distmlip::native {

template <class T>
using Operators = kernels::irreps::Operators<T>;

/// Behind arrays that operators write whole vectors to.
constexpr int slack = 2 * kernels::irreps::padding;

/// A matrix (rows, columns) of float64 in memory of somebody else.
struct Matrix {
  const double* values;
  int rows, columns;
};

template <class T>
class PackedMatrix {
 public:
  PackedMatrix() = default;
  PackedMatrix(const Operators<T>& operators, int rows, int columns, const double* values,
               std::ptrdiff_t row_stride, std::ptrdiff_t column_stride)
      : rows_(rows), columns_(columns) {
    packed_.resize(operators.packed_size(rows, columns) + slack);
    operators.pack(rows, columns, values, row_stride, column_stride, packed_.data());
  }
  PackedMatrix(const Operators<T>& operators, const Matrix& matrix)
      : PackedMatrix(operators, matrix.rows, matrix.columns, matrix.values, matrix.columns, 1) {}

  static PackedMatrix transposed(const Operators<T>& operators, const Matrix& matrix) {
    return {operators, matrix.columns, matrix.rows, matrix.values, 1, matrix.columns};
  }

  /// c (+)= a · this, for rows through pointers.
  void multiply(const Operators<T>& operators, std::span<const T* const> a, T* const* c,
                bool accumulate) const {
    operators.multiply(static_cast<int>(a.size()), a.data(), 1, rows_, kernels::irreps::padded(columns_),
                       packed_.data(), c, accumulate);
  }

  int rows() const { return rows_; }
  int columns() const { return columns_; }
  const T* data() const { return packed_.data(); }

 private:
  int rows_ = 0, columns_ = 0;
  Buffer<T> packed_;
};

}  // namespace distmlip::native
