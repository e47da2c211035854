#include "core/subnormals.h"

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

namespace distmlip {
namespace {

#if defined(__SSE2__)
SubnormalBits control_register() noexcept { return _mm_getcsr(); }
void set_control_register(SubnormalBits value) noexcept { _mm_setcsr(static_cast<unsigned>(value)); }
#elif defined(__aarch64__)
SubnormalBits control_register() noexcept {
  SubnormalBits value;
  asm volatile("mrs %0, fpcr" : "=r"(value));
  return value;
}
void set_control_register(SubnormalBits value) noexcept { asm volatile("msr fpcr, %0" : : "r"(value)); }
#else
SubnormalBits control_register() noexcept { return 0; }
void set_control_register(SubnormalBits) noexcept {}
#endif

}  // namespace

SubnormalBits subnormal_bits() noexcept { return control_register() & flush_subnormals; }

void set_subnormal_bits(SubnormalBits bits) noexcept {
  set_control_register((control_register() & ~flush_subnormals) | (bits & flush_subnormals));
}

}  // namespace distmlip
