// Takes the place of csrc/kernels/device/launch.h.
#pragma once

#include "cuda_runtime.h"

namespace distmlip::kernels {

constexpr int threads_per_block = 256;

inline void check_cuda(cudaError_t, const char*) {}

template <class Kernel, class... Arguments>
void launch(Kernel kernel, unsigned blocks, cudaStream_t, const Arguments&... arguments) {
  ++emulated::work().launches;
  for (unsigned block = 0; block < blocks; ++block)
    for (unsigned thread = 0; thread < threads_per_block; thread += emulated::warp_lanes)
      emulated::warp().run(block, thread, [&] { kernel(arguments...); });
}

}  // namespace distmlip::kernels
