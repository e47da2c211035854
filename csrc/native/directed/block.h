// A block on one partition: angles, edges, atoms and nodes are updated, in this order.
#pragma once

#include <memory>

#include "native/directed/edges.h"
#include "native/directed/nodes.h"
#include "native/directed/three_body.h"
#include "native/given.h"

namespace distmlip::native::directed {

/// Immutable.
template <class T>
struct Block {
  explicit Block(const BlockParameters& parameters);

  const Operators<T>& operators;
  int atom_channels, edge_channels;
  bool has_nodes, gives_edges, gives_crossing, reads_edges;
  int embedding;
  LengthTables<T> tables;
  Edges<T> edges;
  std::vector<T> species, end_species;  ///< of the first block: [number][channels]
  std::optional<Angles<T>> angles;
  std::optional<Nodes<T>> nodes;
  std::optional<ThreeBody<T>> three_body;
  std::optional<Projection<T>> out, end_atoms;
  std::optional<Norm<T>> atom_norm;
  int end_columns = 0;

  bool is_first() const { return !species.empty(); }
  bool reads_line_graph() const { return has_nodes || nodes.has_value(); }
};

template <class T>
class BlockRun {
 public:
  /// Throws std::invalid_argument for tensors that do not fit the block. Runs it. `keep`: more is kept, so
  /// that backward() does not compute it again.
  BlockRun(std::shared_ptr<const Block<T>> block, const executor::NativeGraph& graph,
           const executor::Tensors& inputs, bool keep, int n_threads);

  const executor::Tensors& outputs() const { return outputs_; }
  executor::Gradients backward(const executor::Tensors& gradients, int n_threads) const;

  static int64_t kept_bytes(const Block<T>& block, const executor::NativeGraph& graph);

 private:
  void read_atoms();
  void read_nodes(int n_threads);
  void update_angles(bool keep, int n_threads);
  void update_edges(bool keep, int n_threads);
  void update_atoms();
  void update_nodes(bool keep, int n_threads);
  void collect_outputs();
  at::Tensor cut_rows(const std::vector<int32_t>& rows, const at::Tensor& from) const;
  const T* angles_given() const;
  std::string angles_name() const { return given_.has("angles") ? "angles" : "angle_embedding"; }
  const T* atoms() const { return data(atoms_); }
  typename ThreeBody<T>::Input three_body_input() const;
  int64_t n_end_atoms() const {
    return block_->three_body->reads_centres() ? topology_.n_owned : topology_.n_local;
  }
  EdgeInput<T> edge_input() const;
  /// What edges gather, made anew on the way back.
  struct EdgeTables {
    SourceTables<T> update, messages;
  };
  EdgeTables edge_tables(int n_threads) const;
  typename Nodes<T>::Input node_input() const;

  struct Gradients;
  void nodes_back(const Given<T>& given, Gradients& to, int n_threads) const;
  void atoms_back(const Given<T>& given, Gradients& to) const;
  void edges_back(Gradients& to, int n_threads) const;
  void angles_back(Gradients& to, int n_threads) const;
  executor::Gradients collected(Gradients& to) const;

  static const T* data(const at::Tensor& tensor) { return tensor.template const_data_ptr<T>(); }
  static T* data_or_null(at::Tensor& tensor) { return tensor.defined() ? data(tensor) : nullptr; }
  static const T* data_or_null(const at::Tensor& tensor) { return tensor.defined() ? data(tensor) : nullptr; }
  static T* data(at::Tensor& tensor) { return tensor.template mutable_data_ptr<T>(); }

  std::shared_ptr<const Block<T>> block_;
  executor::NativeGraph graph_;
  EdgeTopology topology_;
  Given<T> given_;
  std::optional<ShortEdges> short_edges_;
  std::optional<LineGraph> line_;
  const T* vectors_;
  at::Tensor atoms_;       ///< (n_local, channels), before
  at::Tensor end_atoms_;   ///< (n_local, columns), of the first block
  at::Tensor nodes_;       ///< (n_rows, channels), before
  at::Tensor angles_;      ///< (n_angles, channels), updated
  at::Tensor three_body_;  ///< (n_edges, padded columns)
  at::Tensor edges_;       ///< (n_edges, channels), updated
  executor::Tensors outputs_;
  at::Tensor kept_of_angles_, kept_of_edges_, kept_of_nodes_;  ///< undefined: not kept
  at::Tensor next_;                                            ///< (n_owned, channels), updated
  at::Tensor next_ends_;                                       ///< (n_owned, padded columns)
  typename Norm<T>::Memory atom_norm_;
};

}  // namespace distmlip::native::directed
