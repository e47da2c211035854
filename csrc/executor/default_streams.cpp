#include "executor/default_streams.h"

#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <c10/util/Exception.h>

#include "executor/device.h"

namespace distmlip::executor {
namespace {

/// What `then` is given from now on comes after what `first` has been given.
void put_in_order(const c10::Stream& first, const c10::Stream& then) {
  if (first == then) return;
  c10::Event done(first.device_type());
  done.record(first);
  done.block(then);
}

void make_current(const c10::Stream& stream) {
  c10::impl::VirtualGuardImpl(stream.device_type()).exchangeStream(stream);
}

}  // namespace

DefaultStreams::DefaultStreams(const std::vector<c10::Device>& devices) {
  for (const c10::Device device : devices) {
    if (device.is_cpu()) continue;
    callers_.push_back(c10::impl::VirtualGuardImpl(device.type()).getStream(device));
    ours_.push_back(default_stream(device));
    put_in_order(callers_.back(), ours_.back());
  }
  for (const c10::Stream& stream : ours_) make_current(stream);
  if (!ours_.empty()) current_.reset_device(ours_.front().device());
}

DefaultStreams::~DefaultStreams() {
  try {
    for (const c10::Stream& stream : callers_) make_current(stream);
    for (size_t k = 0; k < ours_.size(); ++k) put_in_order(ours_[k], callers_[k]);
  } catch (const c10::Error&) {  // the device has failed; whoever uses it next is told
  }
}

}  // namespace distmlip::executor
