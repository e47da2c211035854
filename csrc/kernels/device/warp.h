// A group of 32 lanes as a CUDA warp. For .cu files.
#pragma once

#include <cuda_runtime.h>

#include "kernels/device/parallel.h"

namespace distmlip::kernels {

/// The value of one lane; no other lane has it.
template <class T>
struct WarpLane {
  T value;
  __device__ T& operator[](int) { return value; }
  __device__ const T& operator[](int) const { return value; }
};

/// Group of parallel.h: every lane runs the same code, for itself.
class Warp {
 public:
  __device__ explicit Warp(int lane) : lane_(lane) {}

  template <class F>
  __device__ void each_lane(F f) const {
    f(lane_);
  }

  __device__ void wait() const { __syncwarp(); }

  template <class F>
  __device__ void once(F f) const {
    if (lane_ == 0) f();
  }

  template <class F>
  __device__ uint32_t ballot(F holds) const {
    return __ballot_sync(all, holds(lane_));
  }

  template <class F>
  __device__ void each(uint32_t mask, F f) const {
    if (mask >> lane_ & 1) f(lane_, __popc(mask & ((1u << lane_) - 1)));
  }

  template <class T, class F>
  __device__ WarpLane<T> shuffle(const WarpLane<T>& values, F from) const {
    return {__shfl_sync(all, values[lane_], from(lane_))};
  }

  __device__ int exclusive_sum(WarpLane<int>& values) const {
    const int own = values[lane_];
    int sum = own;
    for (int offset = 1; offset < group_lanes; offset *= 2) {
      const int before = __shfl_up_sync(all, sum, offset);
      if (lane_ >= offset) sum += before;
    }
    values[lane_] = sum - own;
    return __shfl_sync(all, sum, group_lanes - 1);
  }

  template <class T, class F>
  __device__ T reduce(WarpLane<T> values, F combine) const {
    T value = values[lane_];
    for (int offset = group_lanes / 2; offset > 0; offset /= 2)
      value = combine(value, __shfl_xor_sync(all, value, offset));
    return value;
  }

 private:
  static constexpr unsigned all = 0xffffffff;
  int lane_;
};

}  // namespace distmlip::kernels
