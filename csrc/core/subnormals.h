// Subnormal numbers: results of gates that saturate, which processors compute many times slower than others.
#pragma once

#include <cstdint>

namespace distmlip {

/// How a thread treats subnormal numbers: the bits of its floating-point control register that say so.
using SubnormalBits = std::uint64_t;

#if defined(__SSE2__)
constexpr SubnormalBits flush_subnormals = (1u << 15) | (1u << 6);  // MXCSR: results, operands
#elif defined(__aarch64__)
constexpr SubnormalBits flush_subnormals = 1u << 24;  // FPCR: both
#else
constexpr SubnormalBits flush_subnormals = 0;  // not known how: they are computed
#endif

/// Those of the calling thread: flush_subnormals if it takes them for zero. Threads that it starts begin with
/// them.
SubnormalBits subnormal_bits() noexcept;

/// Sets those of the calling thread, and nothing else of its register.
void set_subnormal_bits(SubnormalBits bits) noexcept;

}  // namespace distmlip
