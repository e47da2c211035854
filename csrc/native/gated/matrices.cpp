#include "native/gated/matrices.h"

#include "core/error.h"

namespace distmlip::native::gated {

void require(const Matrix& matrix, int rows, int columns, const char* name) {
  if (matrix.rows != rows || matrix.columns != columns)
    invalid("'", name, "' is (", matrix.rows, ", ", matrix.columns, "); it must be (", rows, ", ", columns,
            ")");
}

OwnMatrix product(const Matrix& a, const Matrix& b) {
  if (a.columns != b.rows)
    invalid("a product of matrices with ", a.columns, " columns and ", b.rows, " rows");
  OwnMatrix c{std::vector<double>(static_cast<size_t>(a.rows) * static_cast<size_t>(b.columns)), a.rows,
              b.columns};
  for (int i = 0; i < a.rows; ++i)
    for (int k = 0; k < a.columns; ++k)
      for (int j = 0; j < b.columns; ++j)
        c.values[static_cast<size_t>(i * b.columns + j)] +=
            a.values[i * a.columns + k] * b.values[k * b.columns + j];
  return c;
}

OwnMatrix side_by_side(const Matrix& a, const Matrix& b) {
  if (a.rows != b.rows) invalid("matrices with ", a.rows, " and ", b.rows, " rows side by side");
  OwnMatrix both{{}, a.rows, a.columns + b.columns};
  for (int row = 0; row < a.rows; ++row) {
    both.values.insert(both.values.end(), a.values + row * a.columns, a.values + (row + 1) * a.columns);
    both.values.insert(both.values.end(), b.values + row * b.columns, b.values + (row + 1) * b.columns);
  }
  return both;
}

}  // namespace distmlip::native::gated
