#include "exchange/host_tensors.h"

#include <ATen/ATen.h>
#include <ATen/EmptyTensor.h>
#include <c10/core/CPUAllocator.h>

#include <limits>
#include <mutex>
#include <new>
#include <unordered_map>

#include "core/pages.h"

namespace distmlip::exchange {
namespace {

/// Tells torch's profiler, and with it what measures stages (executor/measure.h).
void report(void* memory, int64_t bytes) { c10::reportMemoryUsageToProfiler(memory, bytes, 0, 0, at::kCPU); }

/// Sizes of blocks in use, by their address: torch frees some of them by nothing else.
class Blocks {
 public:
  void add(void* memory, std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    sizes_[memory] = bytes;
  }
  /// Zero: there is none.
  std::size_t remove(void* memory) {
    const std::lock_guard lock(mutex_);
    const auto found = sizes_.find(memory);
    if (found == sizes_.end()) return 0;
    const std::size_t bytes = found->second;
    sizes_.erase(found);
    return bytes;
  }

 private:
  std::mutex mutex_;
  std::unordered_map<void*, std::size_t> sizes_;
};

/// Never destroyed: tensors may be freed after static objects were.
Blocks& blocks() {
  static Blocks* const all = new Blocks;
  return *all;
}

thread_local bool on_kept_pages = false;

/// Of large blocks on kept pages, where they are asked for; else the one that torch had before.
class PageAllocator final : public c10::Allocator {
 public:
  explicit PageAllocator(c10::Allocator* other) : other_(other) { free_other = other->raw_deleter(); }

  c10::DataPtr allocate(std::size_t bytes) override {
    if (!on_kept_pages || bytes < smallest_paged) return other_->allocate(bytes);
    try {
      void* memory = take_pages(bytes);
      blocks().add(memory, bytes);
      report(memory, static_cast<int64_t>(bytes));
      return {memory, memory, &free_block, at::kCPU};
    } catch (const std::bad_alloc&) {
      return other_->allocate(bytes);  // which says what it lacks as torch does
    }
  }
  c10::DeleterFnPtr raw_deleter() const override { return free_other == nullptr ? nullptr : &free_block; }
  void copy_data(void* to, const void* from, std::size_t bytes) const override {
    other_->copy_data(to, from, bytes);
  }

 private:
  static void free_block(void* memory) {
    const std::size_t bytes = blocks().remove(memory);
    if (bytes == 0) return free_other(memory);
    report(memory, -static_cast<int64_t>(bytes));
    return_pages(memory, bytes);
  }

  static inline c10::DeleterFnPtr free_other = nullptr;
  c10::Allocator* other_;
};

/// Torch's own from now on.
PageAllocator& allocator() {
  static PageAllocator* const installed = [] {
    auto* ours = new PageAllocator(c10::GetCPUAllocator());
    c10::SetCPUAllocator(ours, std::numeric_limits<uint8_t>::max());
    return ours;
  }();
  return *installed;
}

}  // namespace

at::Tensor empty(at::IntArrayRef sizes, const at::TensorOptions& options) {
  const auto bytes = static_cast<std::size_t>(c10::multiply_integers(sizes)) * options.dtype().itemsize();
  if (!options.device().is_cpu() || bytes < smallest_paged) return at::empty(sizes, options);
  const OnKeptPages paged;
  return at::Tensor(at::detail::empty_generic(sizes, &allocator(), c10::DispatchKeySet(c10::DispatchKey::CPU),
                                              c10::typeMetaToScalarType(options.dtype()), std::nullopt));
}

OnKeptPages::OnKeptPages(bool wanted) : before_(on_kept_pages) {
  if (!wanted) return;
  allocator();
  on_kept_pages = true;
}
OnKeptPages::~OnKeptPages() { on_kept_pages = before_; }

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
