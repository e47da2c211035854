#include "core/pages.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <iterator>
#include <map>
#include <mutex>
#include <new>
#include <vector>

namespace distmlip {
namespace {

constexpr std::size_t huge_page = std::size_t{1} << 21;

/// Sizes come in eight steps per factor of two, so that an array that has grown a little fits where it was.
std::size_t rounded(std::size_t bytes) {
  const std::size_t step = std::max(huge_page, std::bit_ceil(bytes) / 16);
  return (bytes + step - 1) / step * step;
}

std::size_t default_limit() {
  const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGE_SIZE);
  std::size_t limit =
      pages > 0 && page > 0 ? static_cast<std::size_t>(pages) / 2 * static_cast<std::size_t>(page) : 0;
  rlimit address_space;
  if (getrlimit(RLIMIT_AS, &address_space) == 0 && address_space.rlim_cur != RLIM_INFINITY)
    limit = std::min(limit, static_cast<std::size_t>(address_space.rlim_cur / 2));
  return limit;
}

/// A mapping that starts at a multiple of the huge page, or null.
void* map_aligned(std::size_t size) {
  const std::size_t room = size + huge_page;
  void* mapped = mmap(nullptr, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  const auto start = reinterpret_cast<std::uintptr_t>(mapped);
  const std::uintptr_t aligned = (start + huge_page - 1) / huge_page * huge_page;
  if (aligned > start) munmap(mapped, aligned - start);
  if (start + room > aligned + size)
    munmap(reinterpret_cast<void*>(aligned + size), start + room - (aligned + size));
#ifdef MADV_HUGEPAGE
  madvise(reinterpret_cast<void*>(aligned), size, MADV_HUGEPAGE);
#endif
  return reinterpret_cast<void*>(aligned);
}

class Kept {
 public:
  void* take(std::size_t size) {
    const std::lock_guard lock(mutex_);
    auto& free = free_[size];
    if (free.empty()) return nullptr;
    void* memory = free.back();
    free.pop_back();
    bytes_ -= size;
    return memory;
  }

  bool keep(void* memory, std::size_t size) {
    const std::lock_guard lock(mutex_);
    if (bytes_ + size > limit_) return false;
    free_[size].push_back(memory);
    bytes_ += size;
    return true;
  }

  /// Before so much more is mapped: what is kept has other sizes than are wanted now, and must not add to
  /// them, unless it is little.
  void make_room(std::size_t size) {
    const std::lock_guard lock(mutex_);
    const std::size_t before = bytes_;
    while (bytes_ > limit_ / always_kept && before - bytes_ < size) {
      auto block = free_.lower_bound(size - (before - bytes_));
      while (block != free_.end() && block->second.empty()) ++block;
      if (block == free_.end()) block = largest();
      release_one(block);
    }
  }

  void release_all() {
    const std::lock_guard lock(mutex_);
    release_above(0);
  }

  void set_limit(std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    limit_ = bytes;
    release_above(limit_);
  }

  KeptPages now() {
    const std::lock_guard lock(mutex_);
    return {bytes_, limit_};
  }

 private:
  using Blocks = std::map<std::size_t, std::vector<void*>>;  // by size

  static constexpr std::size_t always_kept = 8;  // the limit's part that nothing is released of for others

  /// The largest blocks first.
  void release_above(std::size_t limit) {
    while (bytes_ > limit) release_one(largest());
  }

  /// That there are.
  Blocks::iterator largest() {
    auto block = std::prev(free_.end());
    while (block->second.empty()) block = std::prev(free_.erase(block));
    return block;
  }

  void release_one(Blocks::iterator block) {
    munmap(block->second.back(), block->first);
    block->second.pop_back();
    bytes_ -= block->first;
  }

  std::mutex mutex_;
  Blocks free_;
  std::size_t bytes_ = 0;
  std::size_t limit_ = default_limit();
};

/// Never destroyed: arrays may be freed after static objects were.
Kept& kept() {
  static Kept* const pages = new Kept;
  return *pages;
}

}  // namespace

void* take_pages(std::size_t bytes) {
  const std::size_t size = rounded(bytes);
  void* memory = kept().take(size);
  if (memory == nullptr) {
    kept().make_room(size);
    memory = map_aligned(size);
  }
  if (memory == nullptr) {
    kept().release_all();
    memory = map_aligned(size);
  }
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

void return_pages(void* memory, std::size_t bytes) noexcept {
  const std::size_t size = rounded(bytes);
  try {
    if (kept().keep(memory, size)) return;
  } catch (...) {  // no memory for the list
  }
  munmap(memory, size);
}

void keep_at_most(std::size_t bytes) { kept().set_limit(bytes); }

KeptPages kept_pages() { return kept().now(); }

}  // namespace distmlip
