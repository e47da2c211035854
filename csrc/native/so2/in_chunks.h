// Work on chunks of receivers.
#pragma once

#include <memory>

#include "core/thread_pool.h"
#include "native/so2/edges.h"

namespace distmlip::native::so2 {

template <class T>
int64_t chunks_of(const KeptEdges<T>& kept) {
  return (kept.topology.n_owned + receivers_per_chunk - 1) / receivers_per_chunk;
}
template <class T>
Receivers receivers_of(const KeptEdges<T>& kept, int64_t chunk) {
  const int64_t first = chunk * receivers_per_chunk;
  return {first, static_cast<int>(std::min<int64_t>(receivers_per_chunk, kept.topology.n_owned - first))};
}

template <class F>
void for_each_block(std::span<const int32_t> positions, F f) {
  for (size_t first = 0; first < positions.size(); first += edges_per_block)
    f(positions.subspan(first, std::min<size_t>(edges_per_block, positions.size() - first)));
}

/// Of each thread one, once it is there.
template <class Memory>
class Memories {
 public:
  explicit Memories(int n_threads)
      : all_(static_cast<size_t>(n_threads > 0 ? n_threads : available_threads())) {}
  template <class Owner>
  Memory& of(int thread, const Owner& owner) {
    std::unique_ptr<Memory>& memory = all_.at(static_cast<size_t>(thread));
    if (memory == nullptr) memory = std::make_unique<Memory>(owner);
    return *memory;
  }

 private:
  std::vector<std::unique_ptr<Memory>> all_;
};

}  // namespace distmlip::native::so2
