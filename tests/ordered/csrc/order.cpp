#include "order.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <sstream>
#include <stdexcept>

namespace ordered {
namespace {

uint64_t thread_number() { return static_cast<uint64_t>(syscall(SYS_gettid)); }

std::string name_of_block(const Block& block) {
  std::ostringstream name;
  name << (block.device < 0 ? "pinned" : "ordered:" + std::to_string(block.device)) << " block #"
       << block.number << " (" << block.asked << " bytes)";
  return name.str();
}

}  // namespace

std::string name_of_thread() { return std::to_string(thread_number()); }

void join(Clock& into, const Clock& other) {
  if (into.size() < other.size()) into.resize(other.size(), 0);
  for (size_t k = 0; k < other.size(); ++k) into[k] = std::max(into[k], other[k]);
}

bool covers(const Clock& whole, const Clock& part) {
  for (size_t k = 0; k < part.size(); ++k)
    if (part[k] > (k < whole.size() ? whole[k] : 0)) return false;
  return true;
}

std::string Report::text() const {
  std::ostringstream out;
  out << kind << ": " << op << " on " << stream << " [thread " << thread << "] " << block;
  if (!other_op.empty()) out << "; not ordered after " << other_op << " on " << other_stream;
  return out.str();
}

Order& Order::the() {
  static auto* order = new Order;  // threads may outlive main
  return *order;
}

size_t Order::timeline(StreamKey stream) {
  const auto [found, is_new] = numbers_.try_emplace(stream, streams_.size());
  if (is_new) {
    streams_.push_back(stream);
    clocks_.emplace_back();
  }
  return found->second;
}

const std::string* Order::interned(const std::string& name) { return &*names_.insert(name).first; }

Clock& Order::host_ref() {
  Clock* own = host_of_thread != nullptr ? host_of_thread() : nullptr;
  if (own == nullptr) return nobodys_;
  join(*own, nobodys_);
  return *own;
}

bool Order::is_known(const Clock& clock, const Access& access) const {
  return access.timeline < clock.size() && clock[access.timeline] >= access.time;
}

Clock Order::clock_of(StreamKey stream) {
  const std::lock_guard lock(mutex);
  // An event is recorded after what the host already waited for.
  Clock& clock = clocks_[timeline(stream)];
  join(clock, host_ref());
  return clock;
}

Clock Order::clock_of_device(int device) {
  const std::lock_guard lock(mutex);
  Clock all;
  for (size_t k = 0; k < streams_.size(); ++k)
    if (streams_[k].device == device) join(all, clocks_[k]);
  return all;
}

void Order::wait(StreamKey stream, const Clock& clock) {
  const std::lock_guard lock(mutex);
  join(clocks_[timeline(stream)], clock);
}

void Order::host_wait(const Clock& clock, const std::string& why) {
  const std::lock_guard lock(mutex);
  ++counts.syncs[why];
  join(host_ref(), clock);
}

Clock Order::host_clock() {
  const std::lock_guard lock(mutex);
  return host_ref();
}

Access Order::launch(StreamKey stream, const std::string& op) {
  const std::lock_guard lock(mutex);
  ++counts.launches[op];
  const size_t k = timeline(stream);
  Clock& clock = clocks_[k];
  join(clock, host_ref());
  if (clock.size() <= k) clock.resize(k + 1, 0);
  return {k, ++clock[k], 0, 0, false, interned(op)};
}

Access Order::launch_copy(StreamKey stream) {
  const std::lock_guard lock(mutex);
  const Access work = launch(stream, "copy_ between devices");
  int64_t length = 1;
  for (const Link& before : counts.copies)
    if (is_known(clocks_[work.timeline], before.work)) length = std::max(length, before.length + 1);
  counts.copies.push_back({work, length});
  return work;
}

void Order::access(Block& block, Access access, size_t begin, size_t end, bool write) {
  const std::lock_guard lock(mutex);
  access.begin = begin;
  access.end = end;
  access.write = write;
  const Clock& clock = clocks_[access.timeline];
  for (const Access& before : block.accesses) {
    const bool overlap = before.begin < end && begin < before.end;
    if (overlap && (write || before.write) && !is_known(clock, before)) {
      report({"race", (write ? "write by " : "read by ") + *access.op, name_of(access.timeline),
              name_of_block(block), (before.write ? "write by " : "read by ") + *before.op,
              name_of(before.timeline), name_of_thread()});
    }
  }
  // Earlier accesses that this one follows and covers say nothing more about what comes after.
  std::erase_if(block.accesses, [&](const Access& before) {
    return begin <= before.begin && before.end <= end && (write || !before.write) && is_known(clock, before);
  });
  block.accesses.push_back(access);
}

void Order::host_access(Block& block, const std::string& op, bool write) {
  const std::lock_guard lock(mutex);
  for (const Access& before : block.accesses) {
    if ((write || before.write) && !is_known(host_ref(), before)) {
      report({"host", (write ? "write by " : "read by ") + op, "the host", name_of_block(block),
              (before.write ? "write by " : "read by ") + *before.op, name_of(before.timeline),
              name_of_thread()});
    }
  }
}

void Order::freed(Block& block) {
  const std::lock_guard lock(mutex);
  block.busy.clear();
  for (const StreamKey stream : block.used_on) join(block.busy, clocks_[timeline(stream)]);
  if (block.device >= 0) {
    // The next work on its home stream may be given this memory.
    Clock next = clocks_[timeline(block.home)];
    join(next, host_ref());
    for (const Access& before : block.accesses) {
      if (!is_known(next, before) && !block.used_on.contains(streams_[before.timeline])) {
        report({"free", "free", name_of(block.home), name_of_block(block),
                (before.write ? "write by " : "read by ") + *before.op, name_of(before.timeline),
                name_of_thread()});
      }
    }
  }
}

std::string Order::name_of(StreamKey stream) const {
  return "ordered:" + std::to_string(stream.device) + "/" +
         (stream.id == 0 ? "default" : "stream " + std::to_string(stream.id));
}

void Order::report(Report report) {
  const std::lock_guard lock(mutex);
  reports_.push_back(report);
  if (raise) throw std::runtime_error(report.text());
}

std::vector<Report> Order::take_reports() {
  const std::lock_guard lock(mutex);
  return std::exchange(reports_, {});
}

}  // namespace ordered
