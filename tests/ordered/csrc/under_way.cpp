#include "under_way.h"

#include <ATen/ATen.h>

#include <cstring>
#include <list>

namespace ordered {
namespace {

/// A copy between a device and page-locked memory that the host has not waited for.
struct UnderWay {
  c10::weak_intrusive_ptr<c10::StorageImpl> storage;
  std::vector<int64_t> sizes, strides;
  int64_t offset;
  c10::ScalarType dtype;
  at::Tensor content;
  size_t timeline;
  uint64_t time;
  bool arrives;
  std::string what;

  at::Tensor target() const {
    auto locked = storage.lock();
    if (!locked) return {};
    auto tensor = at::empty({0}, dtype);
    return tensor.set_(c10::Storage(std::move(locked)), offset, sizes, strides);
  }
};

std::list<UnderWay> under_way;

bool same_bytes(const at::Tensor& a, const at::Tensor& b) {
  const auto x = a.contiguous(), y = b.contiguous();
  return std::memcmp(x.const_data_ptr(), y.const_data_ptr(), static_cast<size_t>(x.nbytes())) == 0;
}

void fill_with_poison(const at::Tensor& tensor) {
  auto bytes = at::empty(tensor.sizes(), tensor.options());
  std::memset(bytes.mutable_data_ptr(), kPoison, static_cast<size_t>(bytes.nbytes()));
  tensor.copy_(bytes);
}

void add(const at::Tensor& pinned, const Access& access, bool arrives) {
  const OwnWork own;
  const std::lock_guard lock(Order::the().mutex);
  under_way.push_back({c10::weak_intrusive_ptr<c10::StorageImpl>(pinned.storage().getWeakStorageImpl()),
                       pinned.sizes().vec(), pinned.strides().vec(), pinned.storage_offset(),
                       pinned.scalar_type(), pinned.clone(), access.timeline, access.time, arrives,
                       *access.op});
  if (arrives) fill_with_poison(pinned);
}

}  // namespace

void host_caught_up() {
  const OwnWork own;
  Order& order = Order::the();
  const std::lock_guard lock(order.mutex);
  const Clock host = order.host_clock();
  for (auto at = under_way.begin(); at != under_way.end();) {
    if (at->timeline >= host.size() || host[at->timeline] < at->time) {
      ++at;
      continue;
    }
    const UnderWay done = std::move(*at);
    at = under_way.erase(at);
    const at::Tensor target = done.target();
    if (!target.defined()) continue;
    if (done.arrives) {
      target.copy_(done.content);
    } else if (!same_bytes(target, done.content)) {
      order.report({"host", "write by the host", "the host", "pinned memory", "read by " + done.what,
                    order.name_of(done.timeline), ""});
    }
  }
}

void arrives_later(const at::Tensor& pinned, const Access& access) { add(pinned, access, true); }
void leaves_later(const at::Tensor& pinned, const Access& access) { add(pinned, access, false); }

void see_what_arrived(const at::Tensor& pinned, const std::function<void()>& work) {
  const OwnWork own;
  const std::lock_guard lock(Order::the().mutex);
  std::vector<at::Tensor> shown;
  for (const UnderWay& copy : under_way) {
    auto storage = copy.storage.lock();
    if (copy.arrives && storage.get() == pinned.storage().unsafeGetStorageImpl()) {
      shown.push_back(copy.target());
      shown.back().copy_(copy.content);
    }
  }
  work();
  for (const auto& tensor : shown) fill_with_poison(tensor);
}

}  // namespace ordered
