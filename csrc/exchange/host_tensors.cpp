#include "exchange/host_tensors.h"

#include <ATen/EmptyTensor.h>
#include <ATen/ops/empty.h>
#include <c10/core/Allocator.h>

#include <cstring>
#include <memory>

#include "core/pages.h"

namespace distmlip::exchange {
namespace {

struct Pages {
  void* memory;
  std::size_t bytes;
};

/// Tells torch's profiler, and with it what measures stages (executor/measure.h).
void report(void* memory, int64_t bytes) { c10::reportMemoryUsageToProfiler(memory, bytes, 0, 0, at::kCPU); }

void give_back(void* context) {
  const std::unique_ptr<Pages> pages(static_cast<Pages*>(context));
  report(pages->memory, -static_cast<int64_t>(pages->bytes));
  return_pages(pages->memory, pages->bytes);
}

class PageAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(std::size_t bytes) override {
    auto pages = std::make_unique<Pages>(Pages{take_pages(bytes), bytes});
    void* memory = pages->memory;
    report(memory, static_cast<int64_t>(bytes));
    return {memory, pages.release(), &give_back, at::kCPU};
  }
  void copy_data(void* to, const void* from, std::size_t bytes) const override {
    std::memcpy(to, from, bytes);
  }
};

}  // namespace

at::Tensor empty(at::IntArrayRef sizes, const at::TensorOptions& options) {
  const auto bytes = static_cast<std::size_t>(c10::multiply_integers(sizes)) * options.dtype().itemsize();
  if (!options.device().is_cpu() || bytes < smallest_paged) return at::empty(sizes, options);
  static PageAllocator allocator;
  return at::Tensor(at::detail::empty_generic(sizes, &allocator, c10::DispatchKeySet(c10::DispatchKey::CPU),
                                              c10::typeMetaToScalarType(options.dtype()), std::nullopt));
}

}  // namespace distmlip::exchange
