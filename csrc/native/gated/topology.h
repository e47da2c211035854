// Bonds and pairs of bonds as blocks of gated messages read them.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "core/error.h"
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

 private:
  void list_pairs(const at::Tensor& angles_given, const int64_t* receiver_of,
                  const std::vector<int32_t>& row_of_edge);
  void list_cut(const at::Tensor& cut_given, const std::vector<int32_t>& row_of);
};

/// Throws std::invalid_argument unless they are (n_edges, 3), contiguous, in this dtype and on the host.
template <class T>
const T* vectors_of(const Topology& topology, const at::Tensor& vectors) {
  if (!vectors.device().is_cpu() || vectors.scalar_type() != c10::CppTypeToScalarType<T>::value ||
      !vectors.is_contiguous() || vectors.dim() != 2 || vectors.size(0) != topology.n_edges ||
      vectors.size(1) != 3)
    invalid("vectors must be contiguous, (n_edges, 3), in the stage's dtype and on the host");
  return vectors.const_data_ptr<T>();
}

}  // namespace distmlip::native::gated
