// The edges of a partition, by their receivers.
#pragma once

#include <cstdint>
#include <vector>

#include "executor/native_stage.h"

namespace distmlip::native {

/// What the edges of a partition are, as stages read them.
struct EdgeTopology {
  /// Throws std::invalid_argument for indices out of range, and receivers that do not ascend.
  explicit EdgeTopology(const executor::NativeGraph& graph);

  int64_t n_owned, n_local, n_edges;
  const int64_t *senders, *receivers, *numbers;  ///< in the graph's memory
  std::vector<int64_t> first_edge;               ///< of each owned atom, and the end
};

}  // namespace distmlip::native
