// Which accesses to memory happen before which: a vector clock per stream, standard library only.
//
// Work is done at once, in the order in which the host asks for it; what a GPU might do in another order is
// found from clocks alone. A stream is a timeline; the host has none of its own but knows how far it has
// waited on each.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace ordered {

struct StreamKey {
  int device;
  int64_t id;  // 0: the default stream
  auto operator<=>(const StreamKey&) const = default;
};

/// How much of each timeline is known to be done.
using Clock = std::vector<uint64_t>;
/// Of the calling thread, as the system counts.
std::string name_of_thread();
void join(Clock& into, const Clock& other);
/// Whether all of `part` is known in `whole`.
bool covers(const Clock& whole, const Clock& part);

struct Access {
  size_t timeline;
  uint64_t time;
  size_t begin, end;  // bytes of the block
  bool write;
  const std::string* op;
};

/// A piece of memory of a device, or page-locked memory of the host (device -1).
struct Block {
  int device = -1;
  char* data = nullptr;  // as torch sees it
  size_t size = 0, asked = 0;
  uint64_t number = 0;  // of its present life
  StreamKey home{};     // stream that it was allocated on
  std::vector<Access> accesses;
  std::set<StreamKey> used_on;  // record_stream
  Clock busy;                   // freed: not used again before the host knows this
};

struct Report {
  std::string kind;  // race, free, device, host, poison
  std::string op, stream, block, other_op, other_stream, thread;
  std::string text() const;
};

/// What the calling thread's logical host has waited for: null if it belongs to none, then what all such
/// threads together have waited for.
using HostOfThread = Clock* (*)();

class Order {
 public:
  static Order& the();

  std::recursive_mutex mutex;  // of everything here; callers of the functions below need not hold it

  // What streams, events and the host do.
  Clock clock_of(StreamKey stream);
  void wait(StreamKey stream, const Clock& clock);
  void host_wait(const Clock& clock, const std::string& why);
  Clock host_clock();
  Clock clock_of_device(int device);

  // Work. Returned: the time of it on its timeline.
  Access launch(StreamKey stream, const std::string& op);
  /// The same for a copy between devices.
  Access launch_copy(StreamKey stream);
  void access(Block& block, Access access, size_t begin, size_t end, bool write);
  /// An access of the host, which waits for nothing.
  void host_access(Block& block, const std::string& op, bool write);
  void freed(Block& block);
  uint64_t next_life() { return ++lives_; }

  void report(Report report);
  std::vector<Report> take_reports();
  std::string name_of(StreamKey stream) const;
  std::string name_of(size_t timeline) const { return name_of(streams_.at(timeline)); }

  /// Work that waits for other work of its kind, and how much of it one after another.
  struct Link {
    Access work;
    int64_t length;
  };
  struct Counts {
    std::map<std::string, int64_t> launches, syncs;  // by operator; by reason
    std::vector<Link> copies;                        // between devices
  } counts;

  bool raise = false;  // at the first fault, where it is
  bool check_device = false;
  HostOfThread host_of_thread = nullptr;

 private:
  size_t timeline(StreamKey stream);
  const std::string* interned(const std::string& name);
  Clock& host_ref();
  bool is_known(const Clock& clock, const Access& access) const;

  std::map<StreamKey, size_t> numbers_;
  std::vector<StreamKey> streams_;
  std::vector<Clock> clocks_;
  Clock nobodys_;  // of threads without a logical host; everybody knows it
  std::set<std::string> names_;
  std::atomic<uint64_t> lives_ = 0;
  std::vector<Report> reports_;
};

}  // namespace ordered
