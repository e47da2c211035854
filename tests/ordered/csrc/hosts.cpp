#include <c10/util/ThreadLocalDebugInfo.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <memory>
#include <vector>

#include "streams.h"
#include "under_way.h"

namespace ordered {
namespace {

/// A thread and what it has waited for. Threads that get torch's thread-local state from it (autograd's
/// engine, workers) are its children: they know what it knew, not what their siblings learn; it knows what
/// they learned when it goes on, as it waits for them.
struct LogicalHost final : c10::DebugInfoBase {
  long thread = syscall(SYS_gettid);
  Clock clock;
  std::vector<std::shared_ptr<LogicalHost>> children;

  void learn() {
    for (const auto& child : children) {
      child->learn();
      join(clock, child->clock);
    }
    std::erase_if(children, [](const auto& child) { return child.use_count() == 1; });
  }
};

const auto& kKind = c10::DebugInfoKind::TEST_INFO;

Clock* host_of_thread() {
  auto* host = static_cast<LogicalHost*>(c10::ThreadLocalDebugInfo::get(kKind));
  if (host == nullptr) return nullptr;
  const long thread = syscall(SYS_gettid);
  if (host->thread != thread) {
    auto child = std::make_shared<LogicalHost>();
    child->clock = host->clock;
    for (const auto& other : host->children)
      if (other->thread == thread) join(child->clock, other->clock);
    host->children.push_back(child);
    c10::ThreadLocalDebugInfo::_push(kKind, child);  // until the thread gets another state
    host = child.get();
  }
  host->learn();
  return &host->clock;
}

}  // namespace

void host_waits_for(const Clock& clock, const std::string& why) {
  Order::the().host_wait(clock, why);
  host_caught_up();
}

void begin_host() { c10::ThreadLocalDebugInfo::_push(kKind, std::make_shared<LogicalHost>()); }
void end_host() { c10::ThreadLocalDebugInfo::_pop(kKind); }

void register_hosts() { Order::the().host_of_thread = &host_of_thread; }

}  // namespace ordered
