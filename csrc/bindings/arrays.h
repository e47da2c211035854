// NumPy arrays and the core's own types: what the bindings share.
#pragma once

#include <pybind11/numpy.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "core/buffer.h"
#include "core/cell.h"
#include "core/error.h"

namespace distmlip::bindings {

namespace py = pybind11;

template <class Value>
using Array = py::array_t<Value, py::array::c_style | py::array::forcecast>;
using Doubles = Array<double>;
using Integers = Array<int64_t>;
using Shape = std::vector<py::ssize_t>;

inline const double* checked_positions(const Doubles& positions) {
  if (positions.ndim() != 2 || positions.shape(1) != 3) invalid("positions must have the shape (n_atoms, 3)");
  return positions.data();
}

inline Cell cell_from(const Doubles& vectors, const std::array<bool, 3>& periodic) {
  if (vectors.ndim() != 2 || vectors.shape(0) != 3 || vectors.shape(1) != 3)
    invalid("cell must have the shape (3, 3)");
  Cell cell;
  cell.periodic = periodic;
  for (int axis = 0; axis < 3; ++axis)  // vectors of open axes mean nothing, whatever they are
    if (periodic[axis]) std::copy_n(vectors.data() + 3 * axis, 3, cell.vectors.begin() + 3 * axis);
  return cell;
}

/// An array that owns the buffer. Its memory will be used again when the array is gone: touching fresh pages
/// would cost more than finding the neighbours.
template <class Value>
py::array_t<Value> owning(Buffer<Value>&& values, const Shape& shape) {
  auto buffer = std::make_unique<Buffer<Value>>(std::move(values));
  Value* data = buffer->data();
  const py::capsule owner(buffer.get(), [](void* memory) { delete static_cast<Buffer<Value>*>(memory); });
  buffer.release();
  return py::array_t<Value>(shape, data, owner);
}

template <class Value>
py::array_t<Value> new_array(const Shape& shape) {
  py::ssize_t size = 1;
  for (const py::ssize_t length : shape) size *= length;
  return owning(Buffer<Value>(size), shape);
}

/// A new array that owns a copy.
template <class To, class From>
py::array_t<To> copied(const From* values, Shape shape) {
  py::array_t<To> array(shape);
  std::copy(values, values + array.size(), array.mutable_data());
  return array;
}

template <class Container>
py::array_t<int64_t> indices(const Container& values) {
  return copied<int64_t>(values.data(), {static_cast<py::ssize_t>(values.size())});
}

}  // namespace distmlip::bindings
