#include "native/directed/node_stage.h"

#include "kernels/simd.h"

namespace distmlip::native::directed {

template <class T>
NodeUpdate<T>::NodeUpdate(const NodeStageParameters& parameters)
    : operators(kernels::irreps::operators<T>(kernels::simd())),
      tables(operators, parameters.tables),
      nodes(operators, tables, parameters.nodes) {}

template <class T>
NodeRun<T>::NodeRun(std::shared_ptr<const NodeUpdate<T>> update, const executor::NativeGraph& graph,
                    const executor::Tensors& inputs, bool keep, int n_threads)
    : update_(std::move(update)),
      topology_(graph),
      line_(graph, topology_),
      given_(graph.vectors, inputs),
      vectors_(graph.vectors) {
  if (vectors_.size(0) != topology_.n_edges)
    invalid(vectors_.size(0), " vectors of ", topology_.n_edges, " edges");
  read_rows();
  const int channels = update_->nodes.channels();
  at::Tensor updated = given_.empty(line_.n_nodes(), channels), crossing = given_.empty(n_cut(), channels);
  if (keep) kept_ = given_.empty(line_.n_angles(), update_->nodes.kept_per_angle());
  update_->nodes.forward(input(), Given<T>::data(updated), keep ? Given<T>::data(kept_) : nullptr, n_threads);
  for (int64_t k = 0; k < n_cut(); ++k)
    std::copy_n(Given<T>::data(updated) + int64_t{line_.cut_nodes[static_cast<size_t>(k)]} * channels,
                channels, Given<T>::data(crossing) + k * channels);
  outputs_ = {{"nodes", updated}, {"crossing", crossing}};
}

/// Each node is the reverse of an edge: one of this partition, or one that has crossed.
template <class T>
void NodeRun<T>::read_rows() {
  const int channels = update_->nodes.channels();
  const T *edges = given_.rows("edges", topology_.n_edges, channels),
          *crossing = given_.rows("crossing", n_cut(), channels);
  rows_ = given_.empty(line_.n_rows(), channels);
  const auto to = [&](int64_t row) { return Given<T>::data(rows_) + row * channels; };
  for (int64_t node = 0; node < line_.n_nodes(); ++node) {
    const int64_t reverse = line_.reverses[static_cast<size_t>(node)];
    if (reverse >= 0) std::copy_n(edges + reverse * channels, channels, to(node));
  }
  for (int64_t k = 0; k < n_cut(); ++k) {
    const auto cut = static_cast<size_t>(k);
    std::copy_n(crossing + k * channels, channels, to(line_.cut_nodes[cut]));
    std::copy_n(edges + int64_t{line_.cut_edges[cut]} * channels, channels, to(line_.n_nodes() + k));
  }
}

template <class T>
typename Nodes<T>::Input NodeRun<T>::input() const {
  return {line_, vectors_.template const_data_ptr<T>(), rows_.template const_data_ptr<T>(),
          given_.rows(angles_name(), line_.n_angles(), update_->nodes.angle_channels()),
          given_.rows("atoms", topology_.n_owned, update_->nodes.atom_channels())};
}

template <class T>
executor::Gradients NodeRun<T>::backward(const executor::Tensors& gradients, int n_threads) const {
  const Given<T> given(vectors_, gradients);
  const Nodes<T>& nodes = update_->nodes;
  const int channels = nodes.channels();
  at::Tensor updated = given.copy(given.rows_or_null("nodes", line_.n_nodes(), channels), line_.n_nodes(),
                                  channels),
             rows = given.zeros(line_.n_rows(), channels),
             angles = given.empty(line_.n_angles(), nodes.angle_channels()),
             atoms = given.zeros(topology_.n_owned, nodes.atom_channels()),
             edges = given.zeros(topology_.n_edges, channels), crossing = given.zeros(n_cut(), channels),
             of_vectors = given.zeros(topology_.n_edges, 3);
  const auto row = [channels](at::Tensor& of, int64_t k) { return Given<T>::data(of) + k * channels; };
  const T* of_crossing = given.rows_or_null("crossing", n_cut(), channels);
  for (int64_t k = 0; of_crossing != nullptr && k < n_cut(); ++k)
    add(of_crossing + k * channels, channels, row(updated, line_.cut_nodes[static_cast<size_t>(k)]));
  nodes.backward(input(),
                 {row(updated, 0), row(rows, 0), Given<T>::data(angles), Given<T>::data(atoms),
                  Given<T>::data(of_vectors)},
                 kept_.defined() ? kept_.template const_data_ptr<T>() : nullptr, n_threads);
  for (int64_t node = 0; node < line_.n_nodes(); ++node) {
    const int32_t reverse = line_.reverses[static_cast<size_t>(node)];
    if (reverse >= 0) add<T>(row(rows, node), channels, row(edges, reverse));
  }
  for (int64_t k = 0; k < n_cut(); ++k) {
    const auto cut = static_cast<size_t>(k);
    add<T>(row(rows, line_.cut_nodes[cut]), channels, row(crossing, k));
    add<T>(row(rows, line_.n_nodes() + k), channels, row(edges, line_.cut_edges[cut]));
  }
  return {{{"edges", edges}, {"crossing", crossing}, {"atoms", atoms}, {angles_name(), angles}}, of_vectors};
}

template struct NodeUpdate<float>;
template struct NodeUpdate<double>;
template class NodeRun<float>;
template class NodeRun<double>;

}  // namespace distmlip::native::directed
