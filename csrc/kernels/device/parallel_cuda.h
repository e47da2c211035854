// The back end of parallel.h that runs on CUDA. For .cu files.
#pragma once

#include "kernels/device/launch.h"
#include "kernels/device/parallel.h"
#include "kernels/device/warp.h"

namespace distmlip::kernels {

/// A group is a warp.
class Cuda {
 public:
  /// Makes the device the calling thread's current one.
  explicit Cuda(const Device& device) : device_(device), stream_(static_cast<cudaStream_t>(device.stream)) {
    check_cuda(cudaSetDevice(device.index), "select the device");
  }

  template <class T>
  using PerLane = WarpLane<T>;
  using Group = Warp;

  template <class T>
  Array<T> array(int64_t n) const {
    return {device_.allocate(static_cast<size_t>(n > 0 ? n : 1) * sizeof(T)), n};
  }

  template <class F>
  void for_each(int64_t n, F f) const;

  template <class F>
  void for_each_group(int64_t n, F f) const;

  template <class Scratch, class F>
  void for_each_group_with(int64_t n, F f) const;

  void sum_before(const int32_t* counts, int64_t n, int64_t* begin) const;

  void sort(Array<uint32_t>& keys, Array<int32_t>& values, uint32_t end) const;

  template <class T>
  void read(const T* from, int64_t n, T* to) const {
    copy(from, n * sizeof(T), to, cudaMemcpyDeviceToHost);
  }
  template <class T>
  void write(const T* from, int64_t n, T* to) const {
    copy(from, n * sizeof(T), to, cudaMemcpyHostToDevice);
  }

 private:
  void copy(const void* from, size_t bytes, void* to, cudaMemcpyKind kind) const {
    check_cuda(cudaMemcpyAsync(to, from, bytes, kind, stream_), "copy memory");
    check_cuda(cudaStreamSynchronize(stream_), "finish its work");
  }

  const Device& device_;
  cudaStream_t stream_;
};

constexpr int groups_per_block = threads_per_block / group_lanes;

/// How many blocks hold n threads or groups.
inline unsigned blocks_for(int64_t n, int64_t per_block) {
  return static_cast<unsigned>((n + per_block - 1) / per_block);
}

template <class F>
__global__ void __launch_bounds__(threads_per_block) for_each_kernel(int64_t n, F f) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * threads_per_block + threadIdx.x;
  if (i < n) f(i);
}

template <class F>
__global__ void __launch_bounds__(threads_per_block) for_each_group_kernel(int64_t n, F f) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * groups_per_block + threadIdx.x / group_lanes;
  if (i < n) f(Cuda::Group(static_cast<int>(threadIdx.x % group_lanes)), i);
}

template <class Scratch, class F>
__global__ void __launch_bounds__(threads_per_block) for_each_group_with_kernel(int64_t n, F f) {
  __shared__ Scratch scratch[groups_per_block];
  const int64_t i = static_cast<int64_t>(blockIdx.x) * groups_per_block + threadIdx.x / group_lanes;
  if (i < n)
    f(Cuda::Group(static_cast<int>(threadIdx.x % group_lanes)), i, scratch[threadIdx.x / group_lanes]);
}

template <class F>
void Cuda::for_each(int64_t n, F f) const {
  if (n > 0) launch(for_each_kernel<F>, blocks_for(n, threads_per_block), stream_, n, f);
}

template <class F>
void Cuda::for_each_group(int64_t n, F f) const {
  if (n > 0) launch(for_each_group_kernel<F>, blocks_for(n, groups_per_block), stream_, n, f);
}

template <class Scratch, class F>
void Cuda::for_each_group_with(int64_t n, F f) const {
  if (n > 0) launch(for_each_group_with_kernel<Scratch, F>, blocks_for(n, groups_per_block), stream_, n, f);
}

}  // namespace distmlip::kernels
