// A block on one partition.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "exchange/host_tensors.h"
#include "native/gated/angle_messages.h"
#include "native/gated/atom_messages.h"
#include "native/gated/bases.h"

namespace distmlip::native::gated {

/// Immutable.
template <class T>
struct Block {
  explicit Block(const BlockParameters& parameters);

  const Operators<T>& operators;
  int index, channels;
  bool keeps_atoms, keeps_bonds;
  Bases<T> bases;
  Projection<T> bond_embedding, short_weights;
  std::vector<T> species;  ///< (n, channels); empty but in the first block
  std::optional<Projection<T>> previous;
  AtomMessages<T> atoms;
  std::optional<AngleMessages<T>> bonds;
};

/// "atoms 2"
std::string numbered(std::string what, int of);

template <class T>
class BlockRun {
 public:
  /// Throws std::invalid_argument for tensors that do not fit the block. Updates bonds and atoms.
  BlockRun(std::shared_ptr<const Block<T>> block, const executor::NativeGraph& graph,
           executor::Tensors inputs, int n_threads);

  /// Sends messages to bonds.
  executor::Tensors outputs(int n_threads) const;
  executor::Gradients backward(const executor::Tensors& gradients, int n_threads) const;
  /// Inputs with which the block can be run again for its way back: with the bonds as they were updated, in
  /// the place of what they were updated from.
  executor::Tensors needed_again() const;

 private:
  at::Tensor input(const std::string& name, int64_t n_rows, int64_t width) const;
  Rows<const T> basis(const at::Tensor& rows) const { return {data(rows), rows.size(1)}; }
  static const T* data(const at::Tensor& tensor) { return tensor.template const_data_ptr<T>(); }
  static T* mutable_data(at::Tensor& tensor) { return tensor.template mutable_data_ptr<T>(); }
  at::Tensor empty(int64_t n) const { return exchange::empty({n, block_->channels}, vectors_.options()); }
  at::Tensor zeros(int64_t n) const { return zeros_like(empty(n)); }
  // By hand: torch would start threads.
  static at::Tensor zeros_like(const at::Tensor& tensor);
  static at::Tensor copy_of(const at::Tensor& tensor);
  Rows<T> rows(at::Tensor& tensor) const { return {mutable_data(tensor), block_->channels}; }
  Rows<const T> rows(const at::Tensor& tensor) const { return {data(tensor), block_->channels}; }

  void read_basis(int n_threads);
  void read_atoms(const executor::NativeGraph& graph);
  void update_bonds(int n_threads);
  void update_atoms(int n_threads);

  /// What edges read, in memory that has to be kept as long.
  struct EdgeTables {
    Buffer<T> receivers, senders, bonds;
    AtomTables<T> view;
  };
  EdgeTables edge_tables(int n_threads) const;
  struct LayerTables {
    std::vector<Buffer<T>> memory;
    AngleInput<T> view;
  };
  LayerTables layer_tables(int n_threads) const;
  bool sends() const { return block_->bonds.has_value() && topology_.has_angles; }
  /// Atoms and bonds that a layer of angles reads.
  at::Tensor atoms_of(size_t layer) const;
  at::Tensor bonds_of(size_t layer) const;
  /// The input that a layer reads from blocks before.
  static std::string name_of(const char* what, size_t layer) {
    return numbered(what, static_cast<int>(layer) + 1);
  }

  // Backward.
  struct Gradients;
  /// Of an output; undefined where it is zero.
  at::Tensor given(const executor::Tensors& gradients, const std::string& name, int64_t n_rows) const;
  void messages_back(const executor::Tensors& given, Gradients& to, int n_threads) const;
  void atoms_back(Gradients& to, int n_threads) const;
  void bonds_back(Gradients& to) const;
  void add_tangent_dots(const Projection<T>& projection, const at::Tensor& basis, const T* gradients,
                        T* by_length) const;

  std::shared_ptr<const Block<T>> block_;
  Topology topology_;
  at::Tensor vectors_;
  executor::Tensors inputs_;
  BasisRows basis_;
  at::Tensor atoms_;  ///< (n_local, channels), before
  at::Tensor next_;   ///< (n_owned, channels), updated
  at::Tensor bonds_;  ///< (n_short, channels), updated
};

}  // namespace distmlip::native::gated
