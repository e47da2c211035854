// The float32 multiply-adds per second of one core, by instruction set: what no kernel can exceed.
//
// Prints lines of a name and GFLOP/s (two per multiply-add), of the sets that the processor has.
#include <cstdio>
#include <ctime>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

// Enough independent chains to hide the latency of two units: 4 cycles each, and some to spare.
constexpr int kChains = 12;
constexpr long kRounds = 20'000'000;
constexpr int kRepeats = 5;

volatile float factor = 0.5F;  // the compiler may not know the values
volatile float summand = 0.25F;
volatile float sink;

// Of the processor, so that who shares the core does not count.
double seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

// The best of some repeats: the clock rate rises and falls.
template <class Function>
void report(const char* name, int lanes, Function function) {
  double best = 0;
  for (int repeat = 0; repeat < kRepeats; ++repeat) {
    const double start = seconds();
    function();
    const double rate = 2.0 * kChains * lanes * kRounds / (seconds() - start);
    best = rate > best ? rate : best;
  }
  std::printf("%s %.1f\n", name, best * 1e-9);
}

#if defined(__x86_64__)
__attribute__((target("avx512f"))) void run_avx512() {
  const __m512 a = _mm512_set1_ps(factor);
  const __m512 b = _mm512_set1_ps(summand);
  __m512 chains[kChains];
  for (auto& chain : chains) chain = b;
  for (long round = 0; round < kRounds; ++round) {
#pragma GCC unroll 16
    for (auto& chain : chains) chain = _mm512_fmadd_ps(chain, a, b);
  }
  for (int i = 1; i < kChains; ++i) chains[0] = _mm512_add_ps(chains[0], chains[i]);
  sink = _mm512_cvtss_f32(chains[0]);
}

__attribute__((target("avx2,fma"))) void run_avx2() {
  const __m256 a = _mm256_set1_ps(factor);
  const __m256 b = _mm256_set1_ps(summand);
  __m256 chains[kChains];
  for (auto& chain : chains) chain = b;
  for (long round = 0; round < kRounds; ++round) {
#pragma GCC unroll 16
    for (auto& chain : chains) chain = _mm256_fmadd_ps(chain, a, b);
  }
  for (int i = 1; i < kChains; ++i) chains[0] = _mm256_add_ps(chains[0], chains[i]);
  sink = _mm256_cvtss_f32(chains[0]);
}
#endif

using Vector = float __attribute__((vector_size(16)));

void run_portable() {
  const Vector a = {factor, factor, factor, factor};
  const Vector b = {summand, summand, summand, summand};
  Vector chains[kChains];
  for (auto& chain : chains) chain = b;
  for (long round = 0; round < kRounds; ++round) {
#pragma GCC unroll 16
    for (auto& chain : chains) chain = chain * a + b;
  }
  for (int i = 1; i < kChains; ++i) chains[0] += chains[i];
  sink = chains[0][0];
}

}  // namespace

int main() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) report("avx512", 16, run_avx512);
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) report("avx2", 8, run_avx2);
#endif
  report("portable", 4, run_portable);
}
