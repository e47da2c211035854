// Streams and devices of the calling thread.
#pragma once

#include <c10/core/Stream.h>

#include "order.h"

namespace ordered {

int current_device();
void set_current_device(int device);
StreamKey current_stream(int device);
void set_current_stream(StreamKey stream);
StreamKey new_stream(int device);
c10::Stream as_torch(StreamKey stream);
StreamKey from_torch(const c10::Stream& stream);
void host_waits_for(const Clock& clock, const std::string& why);
/// From here on the calling thread, and those that work for it, know only what they waited for themselves.
void begin_host();
void end_host();
void register_hosts();
void register_hooks();

}  // namespace ordered
