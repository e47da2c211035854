// What Python hands to the builder of native stages.
#pragma once

#include <vector>

#include "bindings/arrays.h"
#include "native/matrix.h"

namespace distmlip::bindings {

/// Valid while the array is.
inline native::Matrix matrix_of(const Doubles& array) {
  if (array.ndim() != 2) invalid("a matrix with ", array.ndim(), " axes");
  return {array.data(), static_cast<int>(array.shape(0)), static_cast<int>(array.shape(1))};
}

inline std::vector<native::Matrix> matrices_of(const std::vector<Doubles>& arrays) {
  std::vector<native::Matrix> matrices;
  for (const Doubles& array : arrays) matrices.push_back(matrix_of(array));
  return matrices;
}

/// A native::ConvolutionPath that keeps its array.
struct Path {
  int from, to, first_channel, group;
  Doubles couplings;
};

/// A native::LinearMap that keeps its arrays.
struct Map {
  int from, to;
  std::vector<Doubles> weights;
};

}  // namespace distmlip::bindings
