#include <cub/device/device_radix_sort.cuh>
#include <cub/device/device_scan.cuh>

#include "kernels/device/parallel_cuda.h"

namespace distmlip::kernels {
namespace {

/// How many low bits the numbers below `end` have.
int bits_below(uint32_t end) {
  int bits = 0;
  while (bits < 32 && (end - 1) >> bits != 0) ++bits;
  return bits;
}

}  // namespace

void Cuda::sum_before(const int32_t* counts, int64_t n, int64_t* begin) const {
  check_cuda(cudaMemsetAsync(begin, 0, sizeof(int64_t), stream_), "clear memory");
  if (n == 0) return;
  size_t bytes = 0;
  const auto sum = [&](void* scratch) {
    return cub::DeviceScan::InclusiveScanInit(scratch, bytes, counts, begin + 1, ::cuda::std::plus<int64_t>(),
                                              int64_t{0}, n, stream_);
  };
  check_cuda(sum(nullptr), "plan a scan");
  const auto scratch = array<char>(static_cast<int64_t>(bytes));
  check_cuda(sum(scratch.data()), "start a scan");
}

void Cuda::sort(Array<uint32_t>& keys, Array<int32_t>& values, uint32_t end) const {
  const int64_t n = keys.size;
  const int bits = bits_below(end);
  if (n < 2 || bits == 0) return;
  const auto sorted_keys = array<uint32_t>(n);
  const auto sorted_values = array<int32_t>(n);
  size_t bytes = 0;
  const auto sort_pairs = [&](void* scratch) {
    return cub::DeviceRadixSort::SortPairs(scratch, bytes, keys.data(), sorted_keys.data(), values.data(),
                                           sorted_values.data(), n, 0, bits, stream_);
  };
  check_cuda(sort_pairs(nullptr), "plan a sort");
  const auto scratch = array<char>(static_cast<int64_t>(bytes));
  check_cuda(sort_pairs(scratch.data()), "start a sort");
  keys = sorted_keys;
  values = sorted_values;
}

}  // namespace distmlip::kernels
