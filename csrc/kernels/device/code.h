// What code that runs on a device, or on the CPU in its place, is written with.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/edge_geometry.h"

#ifdef __CUDACC__
#define DISTMLIP_DEVICE __device__
#define DISTMLIP_UNROLL _Pragma("unroll")
#else
#define DISTMLIP_DEVICE
#define DISTMLIP_UNROLL  // for arrays that must stay in registers
#endif
#define DISTMLIP_INLINE inline __attribute__((always_inline))

namespace distmlip::kernels {

// What several threads may do to one place at the same time. All of these give the same result in any order.

DISTMLIP_DEVICE inline void atomic_max(uint64_t* place, uint64_t value) {
#ifdef __CUDA_ARCH__
  atomicMax(reinterpret_cast<unsigned long long*>(place), static_cast<unsigned long long>(value));
#else
  *place = std::max(*place, value);
#endif
}

DISTMLIP_DEVICE inline void atomic_min(int32_t* place, int32_t value) {
#ifdef __CUDA_ARCH__
  atomicMin(place, value);
#else
  *place = std::min(*place, value);
#endif
}

DISTMLIP_DEVICE inline int count_bits(uint32_t mask) {
#ifdef __CUDA_ARCH__
  return __popc(mask);
#else
  return __builtin_popcount(mask);
#endif
}

/// mask != 0.
DISTMLIP_DEVICE inline int lowest_bit(uint32_t mask) {
#ifdef __CUDA_ARCH__
  return __ffs(static_cast<int>(mask)) - 1;
#else
  return __builtin_ctz(mask);
#endif
}

/// a · b + c; the CPU rounds twice, so only for what rounding does not decide.
DISTMLIP_DEVICE inline float multiply_add(float a, float b, float c) {
#ifdef __CUDA_ARCH__
  return fmaf(a, b, c);
#else
  return a * b + c;
#endif
}

}  // namespace distmlip::kernels
