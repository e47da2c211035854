// Who is near an atom.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/buffer.h"
#include "graph/bins.h"
#include "kernels/distance_filter.h"

namespace distmlip::graph {

/// Finds the neighbours of one atom after the other; cheapest when atoms of the same bin follow each
/// other. Not for concurrent use: every thread has its own.
class NeighborSearch {
 public:
  explicit NeighborSearch(const Bins& bins) : bins_(bins) {}

  /// Slots within the reach of `atom`: all that are within the radius and a few in the rounding margin
  /// beyond. The atom's own slot is among them. Valid until the next call.
  std::span<const int32_t> around(int64_t atom);

 private:
  void enter(int32_t bin);

  const Bins& bins_;
  int32_t bin_ = -1;
  std::vector<kernels::Run> runs_;
  Buffer<int32_t> hits_;
};

}  // namespace distmlip::graph
