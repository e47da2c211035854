#include "exchange/device_copies.h"

#include <ATen/ATen.h>
#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <map>
#include <utility>

namespace distmlip::exchange {
namespace {

using c10::impl::VirtualGuardImpl;

c10::Stream current_stream(at::Device device) { return VirtualGuardImpl(device.type()).getStream(device); }
c10::Stream side_stream(at::Device device) {
  return VirtualGuardImpl(device.type()).getStreamFromGlobalPool(device);
}

c10::Event recorded(const c10::Stream& stream) {
  c10::Event event(stream.device_type());
  event.record(stream);
  return event;
}

/// Torch's copy between devices is a barrier between the streams that are current on both. On the devices'
/// own streams each copy would so wait for the one before; on streams at their side, which wait for what was
/// there when all began, copies wait for nobody.
class SideCopies {
 public:
  /// All copies to and from this device wait for what its current stream has been given.
  void begin(at::Device device) {
    if (!begun_.contains(device.index())) begun_.emplace(device.index(), recorded(current_stream(device)));
  }

  void copy(const at::Tensor& from, at::Tensor& to) {
    const at::Device source = from.device(), reader = to.device();
    const c10::Stream sends = side_stream(source), receives = side_stream(reader);
    begun_.at(source.index()).block(sends);
    begun_.at(reader.index()).block(receives);
    {
      const c10::MultiStreamGuard beside({sends, receives});
      to.copy_(from, /*non_blocking=*/true);
    }
    // Before either tensor's memory is used again, or the copy read.
    const c10::Event done = recorded(receives);
    done.block(current_stream(source));
    done.block(current_stream(reader));
  }

 private:
  std::map<at::DeviceIndex, c10::Event> begun_;
};

}  // namespace

at::Tensor host_memory(at::IntArrayRef sizes, at::ScalarType dtype, at::Device device) {
  return at::empty(sizes, at::TensorOptions().dtype(dtype).pinned_memory(!device.is_cpu()));
}

void copy_all(std::vector<std::vector<at::Tensor>>& messages, const std::vector<at::Device>& devices) {
  std::vector<std::pair<at::Tensor*, at::Tensor>> beside;  // a message, and where it goes
  for (size_t k = 0; k < messages.size(); ++k) {
    for (at::Tensor& message : messages[k]) {
      if (message.device() == devices[k]) continue;
      if (message.numel() > 0 && !message.is_cpu() && !devices[k].is_cpu())
        beside.emplace_back(&message, at::empty(message.sizes(), message.options().device(devices[k])));
    }
  }
  SideCopies copies;
  for (const auto& [message, copy] : beside) {
    copies.begin(message->device());
    copies.begin(copy.device());
  }
  for (auto& [message, copy] : beside) {
    copies.copy(*message, copy);
    *message = copy;
  }
  for (size_t k = 0; k < messages.size(); ++k)
    for (at::Tensor& message : messages[k]) message = message.to(devices[k]);
}

}  // namespace distmlip::exchange
