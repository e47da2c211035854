// Memory of the devices and page-locked memory of the host, with the rules of torch's caching allocators.
//
// Device memory is mapped twice: tensors hold addresses that nobody may touch, operators use the second
// mapping. So code on the host that reads or writes memory of a device ends with a segmentation fault.
#pragma once

#include <ATen/core/CachingHostAllocator.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <c10/core/Allocator.h>

#include "order.h"

namespace ordered {

constexpr int kDevices = 4;
constexpr int kPoison = 0xFF;  ///< each byte of memory that nobody has written yet: NaN, -1

constexpr size_t kPage = 4096;  ///< blocks are whole pages

/// Where the host may touch memory of a device.
void* touchable(const void* data);
/// The block that storage of a device or page-locked memory begins in; null for all other memory.
Block* block_of(const c10::DataPtr& data);
Block* pinned_block_at(const void* data);
/// The block of a device that has this address; null if there never was one.
Block* device_block_at(const char* data);

/// While one exists on a thread, the operators that it calls are the device's own work and not looked at.
struct OwnWork {
  OwnWork() { ++depth; }
  ~OwnWork() { --depth; }
  OwnWork(const OwnWork&) = delete;
  OwnWork& operator=(const OwnWork&) = delete;
  static thread_local int depth;
  at::AutoDispatchBelowADInplaceOrView below;
};

c10::Allocator* device_allocator();
void register_allocators();
/// Reports freed memory that was written to.
void look_at_all_memory();

/// The block is not used again before the host knows that the stream is done with it.
void record_stream(Block& block, StreamKey stream);

}  // namespace ordered
