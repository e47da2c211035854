// Four numbers at a time, on any processor: what GCC and Clang turn into the vectors that it has.
#pragma once

/// Compiles a function for several instruction sets, of which the best one is chosen when the program starts.
/// Not under ThreadSanitizer: what chooses runs before the sanitizer has started.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_THREAD__)
#define DISTMLIP_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define DISTMLIP_CLONES
#endif

namespace distmlip::kernels {

template <class Real>
using RealLanes __attribute__((vector_size(4 * sizeof(Real)))) = Real;
using Lanes = RealLanes<double>;

}  // namespace distmlip::kernels
