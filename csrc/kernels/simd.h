// Which of the instruction sets that this processor has the kernels use.
#pragma once

#include <string>
#include <vector>

namespace distmlip::kernels {

enum class Simd { portable, avx2, avx512 };

/// Those that this processor has and this build knows, best first.
std::vector<Simd> simd_sets();

/// The one in use: the best, until set_simd() names another.
Simd simd();

std::string name_of(Simd simd);

/// From now on this one: "avx512", "avx2" or "portable". For tests, and for people who want to compare.
/// Throws std::invalid_argument for one that this processor does not have.
void set_simd(const std::string& name);

}  // namespace distmlip::kernels
