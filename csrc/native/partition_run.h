// A stage on one partition: forward, and what has to be known on the way back.
#pragma once

#include <algorithm>
#include <memory>
#include <mutex>
#include <vector>

#include "executor/native_stage.h"
#include "native/program.h"

namespace distmlip::native {

/// Receivers whose senders' gradients are added up in memory of their own. How many there are, not the number
/// of threads, decides in which order sums are taken; of few, chunks are small enough for several threads.
constexpr int64_t most_atoms_per_chunk = 256;
inline int64_t atoms_per_chunk(int64_t n_owned) {
  const int64_t eighth = (n_owned / 8 + atoms_per_block - 1) / atoms_per_block * atoms_per_block;
  return std::clamp<int64_t>(eighth, atoms_per_block, most_atoms_per_chunk);
}

/// Scratch of one thread.
template <class T>
struct Workspace {
  explicit Workspace(const std::vector<Register>& registers) : block(registers) {}
  Block<T> block;
  EdgeBlock<T> edges;
  std::vector<const T*> senders = std::vector<const T*>(edges_per_block);
  std::vector<T*> sender_gradients = std::vector<T*>(edges_per_block);
  std::vector<T*> vector_gradients = std::vector<T*>(edges_per_block);
  Buffer<T> sent_gradients;     ///< of some senders
  std::vector<int32_t> row_of;  ///< of each local row among those that a chunk's edges come from; -1: none
};

/// Kept for the next call: their memory is warm.
template <class T>
class Workspaces {
 public:
  explicit Workspaces(const std::vector<Register>& registers) : registers_(registers) {}
  std::unique_ptr<Workspace<T>> take();
  void give(std::unique_ptr<Workspace<T>> workspace);

 private:
  const std::vector<Register>& registers_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Workspace<T>>> free_;
};

template <class T>
class PartitionRun {
 public:
  /// Throws std::invalid_argument for tensors that do not fit the stage.
  PartitionRun(const Program<T>& program, Workspaces<T>& workspaces, executor::NativeGraph graph,
               const executor::Tensors& inputs, int n_threads);

  /// `keep`: for backward(), which else computes each block again.
  executor::Tensors forward(bool keep, int n_threads);
  executor::Gradients backward(const executor::Tensors& output_gradients, int n_threads);

 private:
  struct Chunk {
    std::vector<int32_t> rows;         ///< local rows that its edges come from
    std::vector<Buffer<T>> gradients;  ///< of each input of senders: [row][size]
  };

  // partition_graph.cpp
  void read_graph();
  void read_species(const int64_t* numbers);
  void find_first_edges(const int64_t* receivers);
  void order_edges(int n_threads);
  void find_pairs(int n_threads);
  void evaluate_pairs(int n_threads);
  void read_senders(int n_threads);
  /// The next edges of the block's atoms, with their geometry; false: there are none left.
  struct Cursor {
    int atom = 0;
    int64_t edge = 0;  ///< of the atom
  };
  bool next(EdgeBlock<T>& edges, int64_t first_atom, int n_atoms, Cursor& cursor, int per) const;
  void add(EdgeBlock<T>& edges, int64_t receiver, int64_t first, int n) const;
  void find_geometry(EdgeBlock<T>& edges, int per) const;
  void sort_by_cell(EdgeBlock<T>& edges, const int32_t* cells) const;

  int begin(Block<T>& block, int64_t first_atom) const;
  void compute(Workspace<T>& space, int64_t first_atom) const;
  void load(Workspace<T>& space, int64_t first_atom, int n) const;
  void load(Workspace<T>& space, size_t input, int64_t first_atom, int n) const;
  void forward(Workspace<T>& space, int64_t first_atom, executor::Tensors& outputs) const;
  bool computes_in_place(const Output& output) const;
  void write_outputs(Workspace<T>& space, int64_t first_atom, executor::Tensors& outputs) const;
  EdgeRows<T> rows_for(Workspace<T>& space, const EdgeOperator<T>& edge) const;
  executor::Tensors empty_outputs() const;

  // partition_backward.cpp
  void read_output_gradients(const executor::Tensors& output_gradients);
  void make_gradients();
  void chunks_backward(int64_t n_atoms, int64_t first_chunk, int64_t n_chunks, int n_threads);
  void backward(Workspace<T>& space, Chunk& chunk, int64_t first_atom);
  void place_gradients(Block<T>& block, int64_t first_atom) const;
  void seed(Workspace<T>& space, int64_t first_atom) const;
  void find_rows(Workspace<T>& space, Chunk& chunk, int64_t first_atom, int64_t last_atom) const;
  void edges_backward(Workspace<T>& space, Chunk& chunk) const;
  void add_up(const std::vector<Chunk>& chunks, size_t input, int n_threads);
  void pull_back(EdgeBlock<T>& edges, Workspace<T>& space) const;

  // partition_senders.cpp
  void senders_backward(int n_threads);
  void order_by_sender();
  void senders_backward(Workspace<T>& space, size_t operator_index, int64_t first_row, int n_rows) const;
  bool next_sent(EdgeBlock<T>& edges, int64_t first_row, int n_rows, Cursor& cursor) const;
  size_t input_read_by(const EdgeOperator<T>& edge) const;

  int32_t species(int64_t row) const { return species_[static_cast<size_t>(row)]; }
  int64_t n_edges_of(int64_t receiver) const;

  const Program<T>& program_;
  Workspaces<T>& workspaces_;
  const executor::NativeGraph graph_;
  int64_t n_owned_ = 0, n_local_ = 0, n_edges_ = 0;
  const int64_t* senders_ = nullptr;
  const T* vectors_ = nullptr;
  std::vector<at::Tensor> inputs_;  ///< in the order of the program's; undefined if no longer needed
  std::vector<std::vector<int64_t>> input_sizes_;
  std::vector<at::Tensor> sender_rows_;  ///< of each register that edges read, if not the input's own
  std::vector<const T*> sender_data_;
  std::vector<int64_t> first_edge_;
  std::vector<int32_t> species_;
  Buffer<int32_t> order_;  ///< edges of each receiver by the sender's species, from its first; or empty
  Buffer<int32_t> pair_of_edge_;
  std::vector<at::Tensor> kept_;  ///< of each radial function
  std::vector<const T*> kept_data_;
  std::vector<at::Tensor> saved_;  ///< of each register: [atom][size]
  std::vector<T*> saved_data_;
  // On the way back.
  std::vector<at::Tensor> message_gradients_;  ///< of each operator on edges that goes back by sender
  std::vector<T*> message_gradient_data_;
  std::vector<int64_t> first_sent_;  ///< of each local row, in sent_edges_
  Buffer<int32_t> sent_edges_;
  std::vector<at::Tensor> output_gradients_;  ///< in the order of the program's; undefined: zero
  at::Tensor vector_gradients_;
  std::vector<at::Tensor> input_gradients_;
};

}  // namespace distmlip::native
