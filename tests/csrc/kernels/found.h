// What the programs that compare back ends share.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "kernels/device/array.h"

namespace distmlip::test {

inline std::shared_ptr<void> poisoned(size_t bytes) {
  auto* memory = new char[bytes];
  std::fill_n(memory, bytes, static_cast<char>(0xa5));
  return {memory, [](void* pointer) { delete[] static_cast<char*>(pointer); }};
}

/// Everything that was found, byte by byte.
class Found {
 public:
  template <class T>
  void add(const T* values, int64_t n) {
    const auto* first = reinterpret_cast<const char*>(values);
    bytes_.insert(bytes_.end(), first, first + n * sizeof(T));
  }
  template <class T>
  void add(const kernels::Array<T>& array) {
    add(array.data(), array.size);
  }
  bool operator==(const Found&) const = default;

 private:
  std::vector<char> bytes_;
};

}  // namespace distmlip::test
