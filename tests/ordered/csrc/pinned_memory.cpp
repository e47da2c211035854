#include <ATen/ATen.h>

#include <cstdlib>
#include <cstring>

#include "memory.h"
#include "streams.h"

namespace ordered {
namespace {

/// Page-locked memory.
class PinnedMemory final : public at::HostAllocator {
 public:
  c10::DataPtr allocate(size_t n) override {
    if (n == 0) return {nullptr, nullptr, &release, c10::Device(c10::kCPU)};
    const std::lock_guard lock(Order::the().mutex);
    auto* block = new Block;
    block->size = block->asked = n;
    block->number = Order::the().next_life();
    block->data = static_cast<char*>(std::aligned_alloc(64, (n + 63) / 64 * 64));
    std::memset(block->data, kPoison, n);
    blocks_[block->data] = block;
    return {block->data, block, &release, c10::Device(c10::kCPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return nullptr; }
  void copy_data(void* to, const void* from, size_t n) const override { std::memcpy(to, from, n); }
  bool record_event(void*, void* context, c10::Stream stream) override {
    record_stream(*static_cast<Block*>(context), from_torch(stream));
    return true;
  }
  void empty_cache() override {}
  at::HostStats get_stats() override { return {}; }
  void reset_accumulated_stats() override {}
  void reset_peak_stats() override {}

  Block* at(const void* data) {
    const std::lock_guard lock(Order::the().mutex);
    auto next = blocks_.upper_bound(static_cast<const char*>(data));
    if (next == blocks_.begin()) return nullptr;
    Block* block = std::prev(next)->second;
    return static_cast<const char*>(data) < block->data + block->size ? block : nullptr;
  }

  static void release(void* context);

 private:
  std::map<const char*, Block*> blocks_;
};

PinnedMemory& pinned_memory() {
  static auto* memory = new PinnedMemory;
  return *memory;
}

void PinnedMemory::release(void* context) {
  if (context == nullptr) return;
  auto* block = static_cast<Block*>(context);
  const std::lock_guard lock(Order::the().mutex);
  pinned_memory().blocks_.erase(block->data);
  std::free(block->data);
  delete block;  // never used again: other streams' copies are recorded by torch's own rule
}

}  // namespace

thread_local int OwnWork::depth = 0;

Block* pinned_block_at(const void* data) { return pinned_memory().at(data); }

Block* block_of(const c10::DataPtr& data) {
  if (data.device().type() == c10::kPrivateUse1) return static_cast<Block*>(data.get_context());
  return data.get() == nullptr ? nullptr : pinned_block_at(data.get());
}

void record_stream(Block& block, StreamKey stream) {
  const std::lock_guard lock(Order::the().mutex);
  if (block.device < 0 || stream != block.home) block.used_on.insert(stream);
}

void register_allocators() {
  c10::SetAllocator(c10::kPrivateUse1, device_allocator());
  at::setHostAllocator(c10::kPrivateUse1, &pinned_memory());
}

}  // namespace ordered
