// The way back of operators on edges that goes by sender: each local row gathers its gradient from the edges
// that it sends, so that no memory is added to by two threads, and rows of receivers are read once.
#include <algorithm>

#include "core/error.h"
#include "core/thread_pool.h"
#include "native/partition_run.h"

namespace distmlip::native {

/// By counting: those of a sender in the order of edges.
template <class T>
void PartitionRun<T>::order_by_sender() {
  first_sent_.assign(static_cast<size_t>(n_local_ + 1), 0);
  for (int64_t e = 0; e < n_edges_; ++e) ++first_sent_[static_cast<size_t>(senders_[e] + 1)];
  for (size_t row = 1; row < first_sent_.size(); ++row) first_sent_[row] += first_sent_[row - 1];
  std::vector<int64_t> next(first_sent_.begin(), first_sent_.end() - 1);
  sent_edges_.resize(static_cast<size_t>(n_edges_));
  for (int64_t e = 0; e < n_edges_; ++e)
    sent_edges_[static_cast<size_t>(next[static_cast<size_t>(senders_[e])]++)] = static_cast<int32_t>(e);
}

template <class T>
size_t PartitionRun<T>::input_read_by(const EdgeOperator<T>& edge) const {
  for (size_t k = 0; k < program_.inputs.size(); ++k)
    if (program_.inputs[k].of_senders && program_.inputs[k].of == edge.reads) return k;
  invalid("an operator that goes back by sender reads no input of senders");
}

template <class T>
void PartitionRun<T>::senders_backward(int n_threads) {
  order_by_sender();
  for (size_t k = 0; k < program_.edge_operators.size(); ++k) {
    const int64_t n_blocks = (n_local_ + atoms_per_block - 1) / atoms_per_block;
    parallel_for(n_blocks, n_threads, [&](int64_t block, int) {
      auto space = workspaces_.take();
      const int64_t first = block * atoms_per_block;
      senders_backward(*space, k, first,
                       static_cast<int>(std::min<int64_t>(atoms_per_block, n_local_ - first)));
      workspaces_.give(std::move(space));
    });
  }
}

template <class T>
void PartitionRun<T>::senders_backward(Workspace<T>& space, size_t operator_index, int64_t first_row,
                                       int n_rows) const {
  const EdgeOperator<T>& edge = *program_.edge_operators[operator_index];
  const size_t input = input_read_by(edge);
  const Layout& layout = program_.registers[static_cast<size_t>(edge.reads)].layout;
  const Order order = program_.inputs[input].order;
  const int64_t size = layout.size();
  T* total = input_gradients_[input].template mutable_data_ptr<T>() + first_row * layout.width();
  const bool in_place = layout.is_same_as(order);
  T* back = in_place ? total : room(space.sent_gradients, size * atoms_per_block);
  const bool has_own = std::any_of(program_.inputs.begin(), program_.inputs.end(), [&](const Input& other) {
    return other.shares == static_cast<int>(input);
  });
  const auto n_own = has_own ? static_cast<int>(std::clamp<int64_t>(n_owned_ - first_row, 0, n_rows)) : 0;
  std::fill(back + n_own * size, back + n_rows * size, T(0));
  for (int row = 0; row < n_own && !in_place; ++row)
    layout.read(total + row * layout.width(), back + row * size, order);
  EdgeBlock<T>& edges = space.edges;
  const int64_t* receivers = graph_.receivers.template const_data_ptr<int64_t>();
  const T* kept = edge.functions >= 0 ? kept_data_[static_cast<size_t>(edge.functions)] : nullptr;
  for (Cursor cursor; next_sent(edges, first_row, n_rows, cursor);) {
    for (size_t e = 0; e < static_cast<size_t>(edges.n); ++e)
      space.senders[e] = message_gradient_data_[operator_index] + size * receivers[edges.edges[e]];
    clear_gradients(edges);
    edge.backward_of_senders(edges, kept, space.senders.data(),
                             sender_data_[static_cast<size_t>(edge.reads)] + first_row * size, back, size);
    pull_back(edges, space);
  }
  for (int row = 0; row < n_rows && !in_place; ++row)
    layout.write(back + row * size, total + row * layout.width(), order);
}

/// The next edges that these rows send, with their geometry; false: there are none left.
template <class T>
bool PartitionRun<T>::next_sent(EdgeBlock<T>& edges, int64_t first_row, int n_rows, Cursor& cursor) const {
  const int64_t* receivers = graph_.receivers.template const_data_ptr<int64_t>();
  edges.n = 0;
  edges.receivers.clear();
  for (; cursor.atom < n_rows && edges.n < edges_per_block; ++cursor.atom, cursor.edge = 0) {
    const auto row = static_cast<size_t>(first_row + cursor.atom);
    const int64_t first = first_sent_[row] + cursor.edge, left = first_sent_[row + 1] - first;
    const auto n = static_cast<int>(std::min<int64_t>(left, edges_per_block - edges.n));
    if (n > 0) edges.receivers.push_back({cursor.atom, edges.n, n});
    for (int k = 0; k < n; ++k) {
      const auto e = static_cast<size_t>(edges.n++);
      const int64_t edge = sent_edges_[static_cast<size_t>(first + k)];
      edges.edges[e] = edge;
      edges.senders[e] = static_cast<int32_t>(row);
      edges.vectors[e] = vectors_ + 3 * edge;
      edges.species_pairs[e] = species(receivers[edge]) * program_.n_species() + species(senders_[edge]);
      if (!pair_of_edge_.empty()) edges.pairs[e] = pair_of_edge_[static_cast<size_t>(edge)];
    }
    if (n < left) {
      cursor.edge += n;
      break;
    }
  }
  if (edges.n > 0) find_geometry(edges, 2);
  return edges.n > 0;
}

template void PartitionRun<float>::senders_backward(int);
template void PartitionRun<double>::senders_backward(int);

}  // namespace distmlip::native
