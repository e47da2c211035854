// Bonds and pairs of bonds as blocks of gated messages read them.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "executor/native_stage.h"

namespace distmlip::native::gated {

/// Two short bonds of an atom: its two angles, one for each order.
struct Pair {
  int32_t centre;
  std::array<int32_t, 2> edges, bonds;  ///< short bonds come first
};

struct Topology {
  /// Throws std::invalid_argument for a graph without bonds, or whose indices are out of range.
  explicit Topology(const executor::NativeGraph& graph);

  int64_t n_owned, n_local, n_edges;
  int32_t n_bonds, n_short;
  bool has_angles;  ///< the whole system
  std::vector<int32_t> edge_of_bond;
  /// Directed edges, those of a bond together: one or, if both its atoms are owned, two.
  std::vector<int32_t> first_row, receivers, senders;
  std::vector<Pair> pairs;
  std::vector<int32_t> cut;  ///< short bonds that have a copy in another partition
};

}  // namespace distmlip::native::gated
