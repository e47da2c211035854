// A std::vector whose resize leaves new elements uninitialised.
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

namespace distmlip {

/// Filling memory that is overwritten at once costs as much as the neighbour search itself.
template <class T>
struct UninitialisedAllocator : std::allocator<T> {
  template <class U>
  struct rebind {
    using other = UninitialisedAllocator<U>;
  };
  template <class U>
  void construct(U* place) noexcept(std::is_nothrow_default_constructible_v<U>) {
    ::new (static_cast<void*>(place)) U;
  }
  template <class U, class... Arguments>
  void construct(U* place, Arguments&&... arguments) {
    ::new (static_cast<void*>(place)) U(std::forward<Arguments>(arguments)...);
  }
};

/// Use it where every element is written after resize().
template <class T>
using Buffer = std::vector<T, UninitialisedAllocator<T>>;

}  // namespace distmlip
