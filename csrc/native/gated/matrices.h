// Algebra of weights in float64, while a stage is made.
#pragma once

#include <vector>

#include "native/matrix.h"

namespace distmlip::native::gated {

/// A matrix that owns its values.
struct OwnMatrix {
  std::vector<double> values;
  int rows = 0, columns = 0;
  Matrix view() const { return {values.data(), rows, columns}; }
};

/// Throws std::invalid_argument if the matrix has another shape; `name` is for its message.
void require(const Matrix& matrix, int rows, int columns, const char* name);
/// a · b, and [a | b].
OwnMatrix product(const Matrix& a, const Matrix& b);
OwnMatrix side_by_side(const Matrix& a, const Matrix& b);

}  // namespace distmlip::native::gated
