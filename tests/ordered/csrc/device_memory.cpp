#include <ATen/ATen.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "memory.h"
#include "streams.h"

namespace ordered {
namespace {

constexpr size_t kArena = size_t{1} << 34;  // of addresses; pages are made when they are touched

struct Arena {
  char *forbidden, *open;
  size_t used = 0;
  Arena() {
    const int file = memfd_create("ordered", 0);
    TORCH_CHECK(file >= 0 && ftruncate(file, kArena) == 0, "no memory file");
    const auto map = [&](int protection) {
      void* at = mmap(nullptr, kArena, protection, MAP_SHARED | MAP_NORESERVE, file, 0);
      TORCH_CHECK(at != MAP_FAILED, "no addresses");
      return static_cast<char*>(at);
    };
    forbidden = map(PROT_NONE);
    open = map(PROT_READ | PROT_WRITE);
  }
};

Arena& arena() {
  static auto* arena = new Arena;
  return *arena;
}

void poison(Block& block) { std::memset(touchable(block.data), kPoison, block.size); }

bool is_poisoned(const Block& block) {
  const auto* bytes = static_cast<const unsigned char*>(touchable(block.data));
  return std::all_of(bytes, bytes + block.size, [](unsigned char byte) { return byte == kPoison; });
}

void check_poison(const Block& block) {
  if (!is_poisoned(block)) {
    Order::the().report({"poison", "write after free", Order::the().name_of(block.home),
                         "block #" + std::to_string(block.number), "", "", ""});
  }
}

/// As torch's caching allocators: memory comes back on the stream that it was allocated on, at once; or, if
/// other streams were recorded, when the host knows that they are done with it.
class DeviceMemory final : public c10::DeviceAllocator {
 public:
  c10::DataPtr allocate(size_t n) override {
    const int device = current_device();
    const c10::Device on(c10::kPrivateUse1, static_cast<c10::DeviceIndex>(device));
    if (n == 0) return {nullptr, nullptr, &release, on};
    Block* block = find(device, n);
    block->asked = n;
    block->number = Order::the().next_life();
    total_[device] += static_cast<int64_t>(block->size);
    c10::reportMemoryUsageToProfiler(block->data, static_cast<int64_t>(block->size),
                                     static_cast<size_t>(total_[device]), 0, on);
    return {block->data, block, &release, on};
  }
  c10::DeleterFnPtr raw_deleter() const override { return nullptr; }
  void copy_data(void* to, const void* from, size_t n) const override {
    std::memcpy(touchable(to), touchable(from), n);
  }
  bool initialized() override { return true; }
  void emptyCache(c10::MempoolId_t) override {}
  void recordStream(const c10::DataPtr& data, c10::Stream stream) override {
    if (Block* block = block_of(data)) record_stream(*block, from_torch(stream));
  }
  c10::CachingDeviceAllocator::DeviceStats getDeviceStats(c10::DeviceIndex device) override {
    c10::CachingDeviceAllocator::DeviceStats stats;
    stats.allocated_bytes[0].current = total_[device];
    return stats;
  }
  void resetAccumulatedStats(c10::DeviceIndex) override {}
  void resetPeakStats(c10::DeviceIndex) override {}
  std::pair<size_t, size_t> getMemoryInfo(c10::DeviceIndex) override {
    return {kArena - arena().used, kArena};
  }

  void look_at_free() {
    const std::lock_guard lock(Order::the().mutex);
    for (const auto& [key, blocks] : free_)
      for (const Block* block : blocks) check_poison(*block);
  }

  Block* at(const char* data) {
    const std::lock_guard lock(Order::the().mutex);
    const auto after = all_.upper_bound(data);
    if (after == all_.begin()) return nullptr;
    Block* block = std::prev(after)->second;
    return data < block->data + block->size ? block : nullptr;
  }

  static void release(void* context);

 private:
  Block* find(int device, size_t n) {
    Order& order = Order::the();
    const std::lock_guard lock(order.mutex);
    const size_t size = (n + kPage - 1) / kPage * kPage;
    const StreamKey home = current_stream(device);
    auto& blocks = free_[{home, size}];
    // Last in, first out: what was freed last is used first, so reuse is as likely as it can be.
    for (auto at = blocks.rbegin(); at != blocks.rend(); ++at) {
      if (covers(order.host_clock(), (*at)->busy)) {
        Block* block = *at;
        blocks.erase(std::next(at).base());
        check_poison(*block);
        if (!block->used_on.empty()) block->accesses.clear();  // the host waited for all of them
        block->used_on.clear();
        return block;
      }
    }
    auto* block = new Block;
    TORCH_CHECK(arena().used + size <= kArena, "ordered: out of memory");
    block->device = device;
    block->data = arena().forbidden + arena().used;
    block->size = size;
    block->home = home;
    arena().used += size;
    all_[block->data] = block;
    poison(*block);
    return block;
  }

  std::map<const char*, Block*> all_;
  std::map<std::pair<StreamKey, size_t>, std::vector<Block*>> free_;
  int64_t total_[kDevices] = {};
};

DeviceMemory& device_memory() {
  static auto* memory = new DeviceMemory;
  return *memory;
}

void DeviceMemory::release(void* context) {
  if (context == nullptr) return;
  auto* block = static_cast<Block*>(context);
  const std::lock_guard lock(Order::the().mutex);
  try {
    Order::the().freed(*block);
  } catch (const std::exception&) {  // reported; destructors do not throw
  }
  poison(*block);
  DeviceMemory& memory = device_memory();
  memory.total_[block->device] -= static_cast<int64_t>(block->size);
  memory.free_[{block->home, block->size}].push_back(block);
  c10::reportMemoryUsageToProfiler(
      block->data, -static_cast<int64_t>(block->size), static_cast<size_t>(memory.total_[block->device]), 0,
      c10::Device(c10::kPrivateUse1, static_cast<c10::DeviceIndex>(block->device)));
}

}  // namespace

void* touchable(const void* data) {
  auto* address = const_cast<char*>(static_cast<const char*>(data));
  const Arena& all = arena();
  return address >= all.forbidden && address < all.forbidden + kArena ? all.open + (address - all.forbidden)
                                                                      : address;
}

Block* device_block_at(const char* data) { return device_memory().at(data); }

c10::Allocator* device_allocator() { return &device_memory(); }

void look_at_all_memory() { device_memory().look_at_free(); }

}  // namespace ordered
