// The part of CUDA that kernels/device/ uses, on the CPU: a warp is 32 fibers that run one after another, in
// a different order every time, each until it waits for the others. A warp whose lanes do not all wait at
// the same place, which CUDA leaves undefined, ends the program.
#pragma once

#include <ucontext.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>
#include <vector>

#define __device__
#define __host__
#define __global__
#define __launch_bounds__(threads)
#define __shared__ static  // blocks run one after another

using cudaStream_t = void*;
enum cudaError_t { cudaSuccess };
enum cudaMemcpyKind { cudaMemcpyDeviceToHost, cudaMemcpyHostToDevice };

namespace emulated {

/// What the host has asked for since the program began.
struct Work {
  int launches = 0, waits = 0;
};
inline Work& work() {
  static Work work;
  return work;
}

}  // namespace emulated

inline const char* cudaGetErrorString(cudaError_t) { return "none"; }
inline cudaError_t cudaSetDevice(int) { return cudaSuccess; }
inline cudaError_t cudaStreamSynchronize(cudaStream_t) {
  ++emulated::work().waits;
  return cudaSuccess;
}
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t) {
  std::memcpy(to, from, bytes);
  return cudaSuccess;
}

struct Index {
  unsigned x = 0;
};
inline Index blockIdx, threadIdx;

namespace emulated {

constexpr int warp_lanes = 32;

enum class Meeting { none, ballot, shuffle, wait };

/// The lanes of the warp that is running.
class WarpOfFibers {
 public:
  WarpOfFibers() {
    for (Lane& lane : lanes_) lane.stack.resize(256 * 1024);
  }

  /// Runs body() on every lane; threads are numbered from first_thread.
  void run(unsigned block, unsigned first_thread, const std::function<void()>& body) {
    body_ = &body;
    for (Lane& lane : lanes_) start(lane);
    blockIdx.x = block;
    first_thread_ = first_thread;
    while (n_ended() < warp_lanes) {
      resume_all();
      check();
      for (Lane& lane : lanes_) {
        lane.read = lane.given;
        lane.meeting = Meeting::none;
      }
    }
  }

  int current() const { return current_; }

  /// Waits for the other lanes to come to the same place; returns what each of them gave.
  template <class T>
  std::array<T, warp_lanes> meet(Meeting meeting, T given) {
    static_assert(sizeof(T) <= sizeof(uint64_t));
    const int me = current_;
    Lane& lane = lanes_[me];
    lane.meeting = meeting;
    std::memcpy(&lane.given, &given, sizeof(T));
    swapcontext(&lane.context, &main_);
    std::array<T, warp_lanes> all;
    for (int k = 0; k < warp_lanes; ++k) std::memcpy(&all[k], &lanes_[k].read, sizeof(T));
    return all;
  }

 private:
  struct Lane {
    ucontext_t context;
    std::vector<char> stack;
    Meeting meeting = Meeting::none;
    bool ended = false;
    uint64_t given = 0, read = 0;
  };

  static WarpOfFibers*& running() {
    static WarpOfFibers* warp = nullptr;
    return warp;
  }

  static void enter() {
    WarpOfFibers& warp = *running();
    (*warp.body_)();
    warp.lanes_[warp.current_].ended = true;
    swapcontext(&warp.lanes_[warp.current_].context, &warp.main_);
  }

  void start(Lane& lane) {
    lane.ended = false;
    getcontext(&lane.context);
    lane.context.uc_stack.ss_sp = lane.stack.data();
    lane.context.uc_stack.ss_size = lane.stack.size();
    lane.context.uc_link = nullptr;
    makecontext(&lane.context, &WarpOfFibers::enter, 0);
  }

  void resume_all() {
    running() = this;
    const auto first = static_cast<int>(random_() % warp_lanes);
    for (int k = 0; k < warp_lanes; ++k) {
      current_ = (first + 5 * k) % warp_lanes;
      if (lanes_[current_].ended) continue;
      threadIdx.x = first_thread_ + static_cast<unsigned>(current_);
      swapcontext(&main_, &lanes_[current_].context);
    }
  }

  int n_ended() const {
    int n = 0;
    for (const Lane& lane : lanes_) n += lane.ended;
    return n;
  }

  void check() const {
    const int n = n_ended();
    for (const Lane& lane : lanes_) {
      if (n != warp_lanes && (n != 0 || lane.meeting != lanes_[0].meeting)) {
        std::puts("the lanes of a warp have parted");
        std::exit(1);
      }
    }
  }

  std::array<Lane, warp_lanes> lanes_;
  ucontext_t main_;
  const std::function<void()>* body_ = nullptr;
  unsigned first_thread_ = 0;
  int current_ = 0;
  std::minstd_rand random_;
};

inline WarpOfFibers& warp() {
  static WarpOfFibers warp;
  return warp;
}

}  // namespace emulated

inline uint32_t __ballot_sync(unsigned, bool holds) {
  const auto all = emulated::warp().meet(emulated::Meeting::ballot, holds);
  uint32_t mask = 0;
  for (int lane = 0; lane < emulated::warp_lanes; ++lane) mask |= static_cast<uint32_t>(all[lane]) << lane;
  return mask;
}

template <class T>
T __shfl_sync(unsigned, T value, int from) {
  return emulated::warp().meet(emulated::Meeting::shuffle, value).at(from);
}

template <class T>
T __shfl_xor_sync(unsigned mask, T value, int offset) {
  return __shfl_sync(mask, value, emulated::warp().current() ^ offset);
}

template <class T>
T __shfl_up_sync(unsigned mask, T value, int offset) {
  const int from = emulated::warp().current() - offset;
  return __shfl_sync(mask, value, from < 0 ? from + offset : from);
}

inline void __syncwarp() { emulated::warp().meet(emulated::Meeting::wait, 0); }

inline int __popc(unsigned mask) { return __builtin_popcount(mask); }
