// Which streams our work is done on, whatever the caller's are.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/Stream.h>

#include <vector>

namespace distmlip::executor {

/// While an object lives, the default streams of these devices, which workers use, are current on the calling
/// thread, and the first device that is no CPU is the current one. What is done on them comes after what the
/// streams that were current had been given, and before what they are given afterwards. It must end on the
/// thread that made it.
class DefaultStreams {
 public:
  explicit DefaultStreams(const std::vector<c10::Device>& devices);
  ~DefaultStreams();
  DefaultStreams(const DefaultStreams&) = delete;
  DefaultStreams& operator=(const DefaultStreams&) = delete;

 private:
  std::vector<c10::Stream> callers_, ours_;  // of each device that is no CPU
  c10::OptionalDeviceGuard current_;
};

}  // namespace distmlip::executor
