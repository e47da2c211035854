// The way back through a block.
#include "native/directed/block.h"

namespace distmlip::native::directed {

template <class T>
struct BlockRun<T>::Gradients {
  at::Tensor next, edges;  ///< of what was updated; edges may be undefined
  at::Tensor atoms, end_atoms, edges_before, nodes, angles, three_body, vectors;
};

template <class T>
executor::Gradients BlockRun<T>::backward(const executor::Tensors& gradients, int n_threads) const {
  const Given<T> given(graph_.vectors, gradients);
  const int channels = block_->edge_channels;
  Gradients to;
  to.next = given_.copy(given.rows_or_null("atoms", topology_.n_owned, block_->atom_channels),
                        topology_.n_owned, block_->atom_channels);
  to.vectors = given_.zeros(topology_.n_edges, 3);
  to.atoms = given_.zeros(topology_.n_local, block_->atom_channels);
  if (block_->reads_line_graph()) to.nodes = given_.zeros(line_->n_rows(), channels);
  if (block_->gives_edges || block_->gives_crossing) {
    to.edges =
        given_.copy(given.rows_or_null("edges", topology_.n_edges, channels), topology_.n_edges, channels);
    const T* crossing = block_->gives_crossing
                            ? given.rows_or_null("crossing", std::ssize(line_->cut_edges), channels)
                            : nullptr;
    for (size_t k = 0; crossing != nullptr && k < line_->cut_edges.size(); ++k)
      add(crossing + static_cast<int64_t>(k) * channels, channels,
          data(to.edges) + static_cast<int64_t>(line_->cut_edges[k]) * channels);
  }
  if (block_->angles)
    to.angles =
        given_.copy(given.rows_or_null("angles", line_->n_angles(), block_->angles->layer().outputs()),
                    line_->n_angles(), block_->angles->layer().outputs());
  if (block_->nodes) nodes_back(given, to, n_threads);
  atoms_back(given, to);
  edges_back(to, n_threads);
  if (block_->angles) angles_back(to, n_threads);
  return collected(to);
}

template <class T>
void BlockRun<T>::nodes_back(const Given<T>& given, Gradients& to, int n_threads) const {
  const int channels = block_->edge_channels;
  at::Tensor updated =
      given_.copy(given.rows_or_null("nodes", line_->n_nodes(), channels), line_->n_nodes(), channels);
  const T* crossing = given.rows_or_null("crossing", std::ssize(line_->cut_nodes), channels);
  for (size_t k = 0; crossing != nullptr && k < line_->cut_nodes.size(); ++k)
    add(crossing + static_cast<int64_t>(k) * channels, channels,
        data(updated) + static_cast<int64_t>(line_->cut_nodes[k]) * channels);
  at::Tensor of_angles = given_.empty(line_->n_angles(), block_->nodes->angle_channels());
  block_->nodes->backward(
      node_input(),
      {data(std::as_const(updated)), data(to.nodes), data(of_angles), data(to.next), data(to.vectors)},
      data_or_null(kept_of_nodes_), n_threads);
  if (to.angles.defined())
    add(data(std::as_const(of_angles)), of_angles.numel(), data(to.angles));
  else
    to.angles = of_angles;
  if (!block_->has_nodes)
    functions_back(block_->tables, block_->embedding, block_->operators, edges_of_rows(*line_), vectors_,
                   data(std::as_const(to.nodes)), data(to.vectors));
}

/// From updated atoms to their messages, which take their place.
template <class T>
void BlockRun<T>::atoms_back(const Given<T>& given, Gradients& to) const {
  const int64_t n = topology_.n_owned;
  const int channels = block_->atom_channels;
  const T* of_ends = block_->end_atoms ? given.rows_or_null("end_atoms", n, block_->end_columns) : nullptr;
  if (of_ends != nullptr) {
    const int width = block_->end_atoms->outputs();
    Buffer<T> rows(static_cast<size_t>(n * width + slack));
    std::fill(rows.begin(), rows.end(), T(0));
    for (int64_t atom = 0; atom < n; ++atom)
      for (int c = 0; c < block_->end_columns; ++c) {
        const T end = data(next_ends_)[atom * width + c];
        rows[static_cast<size_t>(atom * width + c)] =
            of_ends[atom * block_->end_columns + c] * end * (1 - end);
      }
    block_->end_atoms->back(n, {rows.data(), width}, {data(to.next), channels}, true);
  }
  if (block_->atom_norm) block_->atom_norm->backward(n, data(to.next), atom_norm_);
  add(data(std::as_const(to.next)), n * channels, data(to.atoms));
  if (!block_->out) return;
  const at::Tensor next = to.next;
  to.next = given_.empty(n, channels);
  block_->out->back(n, {data(next), channels}, {data(to.next), channels}, false);
}

template <class T>
void BlockRun<T>::edges_back(Gradients& to, int n_threads) const {
  const EdgeTables tables = edge_tables(n_threads);
  EdgeInput<T> input = edge_input();
  input.update = &tables.update;
  input.messages = &tables.messages;
  const bool with_atoms = !block_->is_first();  // species have no gradients
  EdgeTables of_tables;
  EdgeGradients<T> gradients;
  gradients.messages = data(std::as_const(to.next));
  if (to.edges.defined()) gradients.edges = data(std::as_const(to.edges));
  if (block_->reads_edges) {
    to.edges_before = given_.empty(topology_.n_edges, block_->edge_channels);
    gradients.edges_before = data(to.edges_before);
  }
  if (block_->three_body) {
    to.three_body = given_.empty(topology_.n_edges, block_->three_body->padded_columns());
    gradients.three_body = data(to.three_body);
  }
  at::Tensor of_nodes;
  if (block_->has_nodes) {
    of_nodes = given_.zeros(line_->n_rows(), block_->edge_channels);
    gradients.nodes = data(of_nodes);
  }
  if (with_atoms) {
    of_tables = {zeros_like(tables.update), zeros_like(tables.messages)};
    gradients.of_update = &of_tables.update;
    gradients.of_messages = &of_tables.messages;
  }
  gradients.vectors = data(to.vectors);
  block_->edges.backward(input, gradients, data_or_null(kept_of_edges_), n_threads);
  if (of_nodes.defined()) add(data(std::as_const(of_nodes)), of_nodes.numel(), data(to.nodes));
  const auto back = [&](const GatedLayer<T>& layer, const SourceTables<T>& of) {
    layer.source(0).back_of(topology_.n_owned, of.rows[0], data(to.atoms), n_threads);
    layer.source(1).back_of(topology_.n_local, of.rows[1], data(to.atoms), n_threads);
  };
  if (with_atoms && block_->edges.update()) back(*block_->edges.update(), of_tables.update);
  if (with_atoms) back(block_->edges.messages(), of_tables.messages);
  if (!block_->three_body) return;
  if (with_atoms) to.end_atoms = given_.zeros(n_end_atoms(), block_->three_body->columns());
  block_->three_body->backward(
      three_body_input(),
      {data(std::as_const(to.three_body)), with_atoms ? data(to.end_atoms) : nullptr, data(to.vectors)},
      n_threads);
}

/// From updated angles to what they were before.
template <class T>
void BlockRun<T>::angles_back(Gradients& to, int n_threads) const {
  const GatedLayer<T>& layer = block_->angles->layer();
  const SourceTables<T> tables = tables_for(layer, *line_, data(nodes_), atoms(), n_threads);
  SourceTables<T> of_tables = zeros_like(tables);
  const at::Tensor given = to.angles;
  to.angles = given_.empty(line_->n_angles(), layer.outputs());
  block_->angles->backward({*line_, angles_given(), &tables}, {data(given), data(to.angles), &of_tables},
                           data_or_null(kept_of_angles_), n_threads);
  tables_back(layer, *line_, of_tables, data(to.nodes), data(to.atoms), n_threads);
}

template <class T>
executor::Gradients BlockRun<T>::collected(Gradients& to) const {
  executor::Tensors inputs;
  if (!block_->is_first()) inputs["atoms"] = to.atoms;
  if (to.end_atoms.defined()) inputs["end_atoms"] = to.end_atoms;
  if (to.edges_before.defined()) inputs["edges"] = to.edges_before;
  if (to.angles.defined()) inputs[angles_name()] = to.angles;
  if (block_->has_nodes) {
    inputs["nodes"] = to.nodes.narrow(0, 0, line_->n_nodes());
    inputs["crossing"] = to.nodes.narrow(0, line_->n_nodes(), line_->n_rows() - line_->n_nodes());
  }
  return {std::move(inputs), to.vectors};
}

template executor::Gradients BlockRun<float>::backward(const executor::Tensors&, int) const;
template executor::Gradients BlockRun<double>::backward(const executor::Tensors&, int) const;

}  // namespace distmlip::native::directed
