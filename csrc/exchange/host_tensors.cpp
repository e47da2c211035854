#include "exchange/host_tensors.h"

#include <ATen/ATen.h>
#include <ATen/EmptyTensor.h>
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

at::Tensor sum(const at::Tensor& a, const at::Tensor& b) {
  if (a.sizes() != b.sizes() || a.scalar_type() != b.scalar_type()) return a + b;
  at::Tensor total = empty(a.sizes(), a.options());
  return at::add_out(total, a, b);
}

void add(const at::Tensor& tensor, at::Tensor& total) {
  AT_DISPATCH_FLOATING_TYPES(total.scalar_type(), "add", [&] {
    auto* to = total.mutable_data_ptr<scalar_t>();
    const auto* from = tensor.const_data_ptr<scalar_t>();
    for (int64_t k = 0; k < tensor.numel(); ++k) to[k] += from[k];
  });
}

}  // namespace distmlip::exchange
