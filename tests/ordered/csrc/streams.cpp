// What torch asks of a kind of device: devices, streams, events, hooks.
#include "streams.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include <array>
#include <atomic>

#include "memory.h"

namespace ordered {
namespace {

thread_local int device_here = 0;
thread_local std::array<int64_t, kDevices> stream_here{};
std::atomic<int64_t> n_streams{0};

struct Event {
  Clock clock;
};

int checked(c10::Device device) {
  const int index = device.has_index() ? device.index() : device_here;
  TORCH_CHECK(index >= 0 && index < kDevices, "there is no device ", device);
  return index;
}

c10::Device device_of(int index) { return {c10::kPrivateUse1, static_cast<c10::DeviceIndex>(index)}; }

struct Guard final : c10::impl::DeviceGuardImplInterface {
  c10::DeviceType type() const override { return c10::kPrivateUse1; }
  c10::Device exchangeDevice(c10::Device device) const override {
    const auto before = device_of(device_here);
    set_current_device(checked(device));
    return before;
  }
  c10::Device getDevice() const override { return device_of(device_here); }
  void setDevice(c10::Device device) const override { set_current_device(checked(device)); }
  void uncheckedSetDevice(c10::Device device) const noexcept override { device_here = device.index(); }
  c10::DeviceIndex deviceCount() const noexcept override { return kDevices; }
  c10::DeviceCapability getDeviceCapability(c10::Device) const override { return {}; }

  c10::Stream getStream(c10::Device device) const override {
    return as_torch(current_stream(checked(device)));
  }
  c10::Stream getDefaultStream(c10::Device device) const override { return as_torch({checked(device), 0}); }
  c10::Stream getStreamFromGlobalPool(c10::Device device, bool) const override {
    return as_torch(new_stream(checked(device)));
  }
  c10::Stream getNewStream(c10::Device device, int) const override {
    return as_torch(new_stream(checked(device)));
  }
  c10::Stream exchangeStream(c10::Stream stream) const override {
    const auto before = as_torch(current_stream(stream.device_index()));
    set_current_stream(from_torch(stream));
    return before;
  }
  void* getStreamNativeHandle(const c10::Stream stream) const override {
    return reinterpret_cast<void*>(stream.id());
  }
  bool queryStream(const c10::Stream& stream) const override {
    host_waits_for(Order::the().clock_of(from_torch(stream)), "query of a stream");
    return true;
  }
  void synchronizeStream(const c10::Stream& stream) const override {
    host_waits_for(Order::the().clock_of(from_torch(stream)), "synchronize stream");
  }
  void synchronizeDevice(const c10::DeviceIndex device) const override {
    host_waits_for(Order::the().clock_of_device(device), "synchronize device");
  }

  void record(void** event, const c10::Stream& stream, const c10::DeviceIndex device,
              const c10::EventFlag) const override {
    TORCH_CHECK(device == -1 || device == stream.device_index(), "the event is of device ", int{device},
                ", the stream of ", stream.device());
    if (*event == nullptr) *event = new Event;
    static_cast<Event*>(*event)->clock = Order::the().clock_of(from_torch(stream));
  }
  void block(void* event, const c10::Stream& stream) const override {
    if (event != nullptr) Order::the().wait(from_torch(stream), static_cast<Event*>(event)->clock);
  }
  bool queryEvent(void* event) const override {
    if (event != nullptr) host_waits_for(static_cast<Event*>(event)->clock, "query of an event");
    return true;
  }
  void synchronizeEvent(void* event) const override {
    if (event != nullptr) host_waits_for(static_cast<Event*>(event)->clock, "synchronize event");
  }
  void destroyEvent(void* event, const c10::DeviceIndex) const noexcept override {
    delete static_cast<Event*>(event);
  }
  double elapsedTime(void*, void*, const c10::DeviceIndex) const override { return 0.0; }
  void recordDataPtrOnStream(const c10::DataPtr& data, const c10::Stream& stream) const override {
    if (Block* block = block_of(data)) record_stream(*block, from_torch(stream));
  }
};
C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard);

struct Hooks final : at::PrivateUse1HooksInterface {
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  c10::DeviceIndex deviceCount() const override { return kDevices; }
  void setCurrentDevice(c10::DeviceIndex device) const override { set_current_device(device); }
  c10::DeviceIndex getCurrentDevice() const override { return static_cast<c10::DeviceIndex>(device_here); }
  c10::DeviceIndex exchangeDevice(c10::DeviceIndex device) const override {
    const auto before = getCurrentDevice();
    set_current_device(device);
    return before;
  }
  c10::DeviceIndex maybeExchangeDevice(c10::DeviceIndex device) const override {
    return device < 0 ? getCurrentDevice() : exchangeDevice(device);
  }
  bool isPinnedPtr(const void* data) const override { return pinned_block_at(data) != nullptr; }
  at::Allocator* getPinnedMemoryAllocator() const override { return at::getHostAllocator(c10::kPrivateUse1); }
  const at::Generator& getDefaultGenerator(c10::DeviceIndex) const override {
    return at::detail::getDefaultCPUGenerator();
  }
  at::Generator getNewGenerator(c10::DeviceIndex) const override { return at::detail::createCPUGenerator(); }
};

}  // namespace

int current_device() { return device_here; }
void set_current_device(int device) {
  TORCH_CHECK(device >= 0 && device < kDevices, "there is no device ordered:", device);
  device_here = device;
}
StreamKey current_stream(int device) { return {device, stream_here[static_cast<size_t>(device)]}; }
void set_current_stream(StreamKey stream) { stream_here[static_cast<size_t>(stream.device)] = stream.id; }
StreamKey new_stream(int device) { return {device, ++n_streams}; }
c10::Stream as_torch(StreamKey stream) {
  return c10::Stream(c10::Stream::UNSAFE, device_of(stream.device), stream.id);
}
StreamKey from_torch(const c10::Stream& stream) { return {stream.device_index(), stream.id()}; }

void register_hooks() { at::RegisterPrivateUse1HooksInterface(new Hooks); }

}  // namespace ordered
