// A std::vector for large arrays: without initialisation, on huge pages, in memory that is used again.
#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/pages.h"

namespace distmlip {

/// Filling memory that is overwritten at once costs as much as the neighbour search itself.
template <class T>
struct PagedAllocator {
  using value_type = T;
  using is_always_equal = std::true_type;

  /// Vectors of 64 bytes that are read across two lines take twice as long.
  static constexpr std::size_t cache_line = 64;

  PagedAllocator() = default;
  template <class U>
  PagedAllocator(const PagedAllocator<U>&) noexcept {}

  T* allocate(std::size_t n) {
    if (n * sizeof(T) < smallest_paged)
      return static_cast<T*>(::operator new(n * sizeof(T), std::align_val_t(cache_line)));
    return static_cast<T*>(take_pages(n * sizeof(T)));
  }
  void deallocate(T* place, std::size_t n) noexcept {
    if (n * sizeof(T) < smallest_paged) return ::operator delete(place, std::align_val_t(cache_line));
    return_pages(place, n * sizeof(T));
  }

  template <class U>
  void construct(U* place) noexcept(std::is_nothrow_default_constructible_v<U>) {
    ::new (static_cast<void*>(place)) U;
  }
  template <class U, class... Arguments>
  void construct(U* place, Arguments&&... arguments) {
    ::new (static_cast<void*>(place)) U(std::forward<Arguments>(arguments)...);
  }

  bool operator==(const PagedAllocator&) const = default;
};

/// Elements that resize() adds are not initialised: use it where every one of them is written.
template <class T>
using Buffer = std::vector<T, PagedAllocator<T>>;

}  // namespace distmlip
