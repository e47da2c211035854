// An update of the line graph's nodes on one partition, where they are edges before.
#pragma once

#include <memory>

#include "native/directed/nodes.h"
#include "native/given.h"

namespace distmlip::native::directed {

/// Immutable.
template <class T>
struct NodeUpdate {
  explicit NodeUpdate(const NodeStageParameters& parameters);

  const Operators<T>& operators;
  LengthTables<T> tables;
  Nodes<T> nodes;
};

template <class T>
class NodeRun {
 public:
  /// As BlockRun.
  NodeRun(std::shared_ptr<const NodeUpdate<T>> update, const executor::NativeGraph& graph,
          const executor::Tensors& inputs, bool keep, int n_threads);

  const executor::Tensors& outputs() const { return outputs_; }
  executor::Gradients backward(const executor::Tensors& gradients, int n_threads) const;

  static int64_t kept_bytes(const NodeUpdate<T>& update, const executor::NativeGraph& graph) {
    return graph.bonds ? graph.bonds->angles.numel() / 2 * update.nodes.kept_per_angle() * int64_t{sizeof(T)}
                       : 0;
  }

 private:
  void read_rows();
  typename Nodes<T>::Input input() const;
  std::string angles_name() const { return given_.has("angles") ? "angles" : "angle_embedding"; }
  int64_t n_cut() const { return std::ssize(line_.cut_edges); }

  std::shared_ptr<const NodeUpdate<T>> update_;
  EdgeTopology topology_;
  LineGraph line_;
  Given<T> given_;
  at::Tensor vectors_;
  at::Tensor rows_;  ///< (n_rows, channels), before
  at::Tensor kept_;  ///< undefined: nothing
  executor::Tensors outputs_;
};

}  // namespace distmlip::native::directed
