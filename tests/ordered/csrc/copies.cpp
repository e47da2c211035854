#include <ATen/ATen.h>
#include <torch/library.h>

#include "aliases.h"
#include "streams.h"
#include "under_way.h"

namespace ordered {
namespace {

/// The rules of torch's copies on CUDA: between devices on the source's stream, joined with the
/// destination's on both sides; with the host on the device's stream, waited for unless the copy is
/// non_blocking and the host's memory page-locked.
at::Tensor& copy_(at::Tensor& self, const at::Tensor& source, bool non_blocking) {
  if (self.is_same(source)) return self;
  const OwnWork own;
  Order& order = Order::the();
  Aliases aliases;
  at::Tensor to = aliases.of(self), from = aliases.of(source);
  const auto work_of = [&](int device, const char* name) {
    return order.launch(current_stream(device), name);
  };
  if (here(self) && here(source)) {
    const int there = source.device().index(), mine = self.device().index();
    const StreamKey sends = current_stream(there), receives = current_stream(mine);
    if (there != mine) order.wait(sends, order.clock_of(receives));
    const Access work = there == mine ? work_of(there, "copy_") : order.launch_copy(sends);
    touch(source, work, false);
    touch(self, work, true);
    to.copy_(from);
    if (there != mine) order.wait(receives, order.clock_of(sends));
  } else if (here(self)) {
    const Access work = work_of(self.device().index(), "copy_ to device");
    Block* pinned = pinned_block_at(source.storage().data());
    touch(source, work, false);
    touch(self, work, true);
    see_what_arrived(source, [&] {
      to.copy_(from);
      if (non_blocking && pinned != nullptr) leaves_later(source, work);
    });
    if (!non_blocking)
      host_waits_for(order.clock_of(current_stream(self.device().index())), "copy_ to device");
    else if (pinned != nullptr)
      record_stream(*pinned, current_stream(self.device().index()));
  } else {
    const Access work = work_of(source.device().index(), "copy_ to host");
    Block* pinned = pinned_block_at(self.storage().data());
    touch(source, work, false);
    touch(self, work, true);
    to.copy_(from);
    if (!non_blocking || pinned == nullptr) {
      host_waits_for(order.clock_of(current_stream(source.device().index())), "copy_ to host");
    } else {
      record_stream(*pinned, current_stream(source.device().index()));
      arrives_later(self, work);
    }
  }
  return self;
}

at::Tensor copy_from(const at::Tensor& self, const at::Tensor& target, bool non_blocking) {
  at::Tensor to = target;
  return copy_(to, self, non_blocking);
}

at::Tensor copy_from_and_resize(const at::Tensor& self, const at::Tensor& target) {
  if (here(target)) resize_(target, self.sizes(), std::nullopt);
  return copy_from(self, target, false);
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, library) {
  library.impl("copy_", &copy_);
  library.impl("_copy_from", &copy_from);
  library.impl("_copy_from_and_resize", &copy_from_and_resize);
}

}  // namespace
}  // namespace ordered
