#include "kernels/simd.h"

#include <atomic>

#include "core/error.h"

namespace distmlip::kernels {
namespace {

std::atomic<Simd>& chosen() {
  static std::atomic<Simd> simd{simd_sets().front()};
  return simd;
}

}  // namespace

std::vector<Simd> simd_sets() {
  std::vector<Simd> sets;
#ifdef DISTMLIP_X86_SIMD
  __builtin_cpu_init();
  const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
    sets.push_back(Simd::avx512);
  if (has_avx2) sets.push_back(Simd::avx2);
#endif
  sets.push_back(Simd::portable);
  return sets;
}

Simd simd() { return chosen(); }

std::string name_of(Simd simd) {
  switch (simd) {
    case Simd::avx512:
      return "avx512";
    case Simd::avx2:
      return "avx2";
    default:
      return "portable";
  }
}

void set_simd(const std::string& name) {
  std::string known;
  for (const Simd simd : simd_sets()) {
    if (name_of(simd) == name) {
      chosen() = simd;
      return;
    }
    known += (known.empty() ? "" : ", ") + name_of(simd);
  }
  invalid("simd is '", name, "'; this processor has ", known);
}

}  // namespace distmlip::kernels
