// Memory for large arrays.
#pragma once

#include <cstddef>

namespace distmlip {

/// Arrays of at least so many bytes are worth pages of their own.
constexpr std::size_t smallest_paged = std::size_t{1} << 20;

/// Memory on huge pages where the system has them: the first touch of fresh small pages costs more than
/// finding the neighbours that are written to them. Throws std::bad_alloc if there is none.
void* take_pages(std::size_t bytes);

/// Gives back what take_pages() gave for the same number of bytes. It is kept for the next array of about
/// this size, while all that is kept stays within the limit: the steps of a simulation want the same sizes
/// again and again, and new memory costs the system up to a quarter of a second for each GB. It does not add
/// to the most that is in use at a time: before other sizes are made as much is released, but for an eighth
/// of the limit.
void return_pages(void* memory, std::size_t bytes) noexcept;

/// From now on at most so many bytes are kept; the system gets back what is above. Until the first call it is
/// half of the machine's memory, and of the address space of the process where that is limited
/// (RLIMIT_AS).
void keep_at_most(std::size_t bytes);

struct KeptPages {
  std::size_t bytes, limit;
};

/// What is kept now, and how much may be.
KeptPages kept_pages();

}  // namespace distmlip
