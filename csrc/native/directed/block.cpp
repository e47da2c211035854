#include "native/directed/block.h"

#include <cmath>

#include "kernels/simd.h"
#include "native/gated/matrices.h"

namespace distmlip::native::directed {
namespace {

template <class T>
std::vector<T> values_of(const std::optional<Matrix>& matrix) {
  if (!matrix) return {};
  return {matrix->values, matrix->values + static_cast<std::ptrdiff_t>(matrix->rows) * matrix->columns};
}

/// (n_local, width), a row for each atomic number.
template <class T>
at::Tensor by_number(const EdgeTopology& topology, const std::vector<T>& rows, int width,
                     const Given<T>& given) {
  at::Tensor of_atoms = given.empty(topology.n_local, width);
  T* to = Given<T>::data(of_atoms);
  const int64_t n_numbers = std::ssize(rows) / width;
  for (int64_t atom = 0; atom < topology.n_local; ++atom) {
    const int64_t number = topology.numbers[atom];
    if (number >= n_numbers) invalid("atomic number ", number, ", for which the stage was not made");
    std::copy_n(rows.data() + number * width, width, to + atom * width);
  }
  return of_atoms;
}

}  // namespace

template <class T>
Block<T>::Block(const BlockParameters& parameters)
    : operators(kernels::irreps::operators<T>(kernels::simd())),
      atom_channels(parameters.atoms),
      edge_channels(parameters.edges),
      has_nodes(parameters.has_nodes),
      gives_edges(parameters.gives_edges),
      gives_crossing(parameters.gives_crossing),
      reads_edges(parameters.embedding < 0),
      embedding(parameters.embedding),
      tables(operators, parameters.tables),
      edges(operators, tables, parameters),
      species(values_of<T>(parameters.species)),
      end_species(values_of<T>(parameters.end_species)) {
  if (parameters.species)
    gated::require(*parameters.species, parameters.species->rows, atom_channels, "species");
  if (parameters.three_body) {
    three_body.emplace(operators, tables, *parameters.three_body);
    if (three_body->padded_columns() != parameters.three_body->layer.own.rows)
      invalid(parameters.three_body->layer.own.rows, " rows of weights for ", three_body->columns(),
              " columns");
    if (parameters.end_species)
      gated::require(*parameters.end_species, parameters.end_species->rows, three_body->columns(),
                     "end_species");
    if (is_first() != parameters.end_species.has_value())
      invalid("the first block has end_species, others have not");
  }
  if (parameters.angles)
    angles.emplace(operators, *parameters.angles, edge_channels, parameters.angles->own.rows, atom_channels,
                   parameters.angles->own.rows);
  if (parameters.nodes) {
    nodes.emplace(operators, tables, *parameters.nodes);
    if (nodes->channels() != edge_channels || nodes->atom_channels() != atom_channels)
      invalid("nodes of ", nodes->channels(), " channels, edges of ", edge_channels);
  }
  if (angles && !has_nodes) invalid("an update of angles needs nodes");
  if (parameters.out) {
    gated::require(*parameters.out, atom_channels, atom_channels, "out");
    out.emplace(operators, *parameters.out);
  }
  if (parameters.atom_norm) atom_norm.emplace(operators, *parameters.atom_norm, atom_channels);
  if (parameters.end_atoms) {
    end_columns = static_cast<int>(parameters.end_atoms->bias.size());
    std::vector<double> bias = parameters.end_atoms->bias;
    bias.resize(static_cast<size_t>(parameters.end_atoms->weights.columns), 0.0);
    gated::require(parameters.end_atoms->weights, atom_channels, kernels::irreps::padded(end_columns),
                   "end_atoms");
    end_atoms.emplace(operators, parameters.end_atoms->weights, bias);
  }
}

template <class T>
BlockRun<T>::BlockRun(std::shared_ptr<const Block<T>> block, const executor::NativeGraph& graph,
                      const executor::Tensors& inputs, bool keep, int n_threads)
    : block_(std::move(block)),
      graph_(graph),
      topology_(graph),
      given_(graph.vectors, inputs),
      vectors_(graph.vectors.const_data_ptr<T>()) {
  if (graph.vectors.size(0) != topology_.n_edges)
    invalid(graph.vectors.size(0), " vectors of ", topology_.n_edges, " edges");
  if (block_->three_body) short_edges_.emplace(graph, topology_);
  if (block_->reads_line_graph() || block_->gives_crossing) line_.emplace(graph, topology_);
  read_atoms();
  read_nodes(n_threads);
  update_angles(keep, n_threads);
  if (block_->three_body) {
    three_body_ = given_.empty(topology_.n_edges, block_->three_body->padded_columns());
    block_->three_body->forward(three_body_input(), data(three_body_), n_threads);
  }
  update_edges(keep, n_threads);
  update_atoms();
  collect_outputs();
  if (block_->nodes) update_nodes(keep, n_threads);
}

template <class T>
int64_t BlockRun<T>::kept_bytes(const Block<T>& block, const executor::NativeGraph& graph) {
  const int64_t per_angle = (block.angles ? block.angles->kept_per_angle() : 0) +
                            (block.nodes ? block.nodes->kept_per_angle() : 0),
                n_angles = graph.bonds ? graph.bonds->angles.numel() / 2 : 0;
  return (graph.senders.numel() * block.edges.kept_per_edge() + n_angles * per_angle) * int64_t{sizeof(T)};
}

template <class T>
void BlockRun<T>::read_atoms() {
  if (!block_->is_first()) {
    given_.rows("atoms", topology_.n_local, block_->atom_channels);
    atoms_ = given_.tensors().at("atoms");
    return;
  }
  atoms_ = by_number(topology_, block_->species, block_->atom_channels, given_);
  if (block_->three_body)
    end_atoms_ = by_number(topology_, block_->end_species, block_->three_body->columns(), given_);
}

template <class T>
void BlockRun<T>::read_nodes(int n_threads) {
  if (!block_->reads_line_graph()) return;
  const int channels = block_->edge_channels;
  nodes_ = given_.empty(line_->n_rows(), channels);
  if (!block_->has_nodes) {  // as edges, they are functions of their lengths
    const Buffer<T> rows =
        functions_of(block_->tables, block_->embedding, edges_of_rows(*line_), vectors_, n_threads);
    std::copy_n(rows.data(), nodes_.numel(), data(nodes_));
    return;
  }
  const int64_t n_cut = line_->n_rows() - line_->n_nodes();
  std::copy_n(given_.rows("nodes", line_->n_nodes(), channels), line_->n_nodes() * channels, data(nodes_));
  std::copy_n(given_.rows("crossing", n_cut, channels), n_cut * channels,
              data(nodes_) + line_->n_nodes() * channels);
}

template <class T>
const T* BlockRun<T>::angles_given() const {
  const int channels =
      block_->angles ? block_->angles->layer().own_channels() : block_->nodes->angle_channels();
  return given_.rows(angles_name(), line_->n_angles(), channels);
}

template <class T>
void BlockRun<T>::update_angles(bool keep, int n_threads) {
  if (!block_->angles) return;
  const GatedLayer<T>& layer = block_->angles->layer();
  const SourceTables<T> tables = tables_for(layer, *line_, data(std::as_const(nodes_)), atoms(), n_threads);
  angles_ = given_.empty(line_->n_angles(), layer.outputs());
  if (keep) kept_of_angles_ = given_.empty(line_->n_angles(), block_->angles->kept_per_angle());
  block_->angles->update({*line_, angles_given(), &tables}, data(angles_), data_or_null(kept_of_angles_),
                         n_threads);
}

template <class T>
typename ThreeBody<T>::Input BlockRun<T>::three_body_input() const {
  const T* ends = block_->is_first() ? data(end_atoms_)
                                     : given_.rows("end_atoms", n_end_atoms(), block_->three_body->columns());
  return {topology_, *short_edges_, vectors_, ends};
}

template <class T>
typename BlockRun<T>::EdgeTables BlockRun<T>::edge_tables(int n_threads) const {
  EdgeTables tables;
  const auto fill = [&](const GatedLayer<T>& layer, SourceTables<T>& to) {
    to.rows[0] = layer.source(0).of(topology_.n_owned, {atoms(), block_->atom_channels}, n_threads);
    to.rows[1] = layer.source(1).of(topology_.n_local, {atoms(), block_->atom_channels}, n_threads);
  };
  if (block_->edges.update()) fill(*block_->edges.update(), tables.update);
  fill(block_->edges.messages(), tables.messages);
  return tables;
}

template <class T>
EdgeInput<T> BlockRun<T>::edge_input() const {
  EdgeInput<T> input{topology_, vectors_};
  if (block_->reads_edges) input.edges = given_.rows("edges", topology_.n_edges, block_->edge_channels);
  if (block_->has_nodes) {
    input.node_of_edge = line_->node_of_edge.data();
    input.nodes = data(nodes_);
  }
  if (block_->three_body) input.three_body = data(three_body_);
  return input;
}

template <class T>
void BlockRun<T>::update_edges(bool keep, int n_threads) {
  const EdgeTables tables = edge_tables(n_threads);
  EdgeInput<T> input = edge_input();
  input.update = &tables.update;
  input.messages = &tables.messages;
  if (block_->gives_edges || block_->gives_crossing)
    edges_ = given_.empty(topology_.n_edges, block_->edge_channels);
  next_ = given_.zeros(topology_.n_owned, block_->atom_channels);
  if (keep) kept_of_edges_ = given_.empty(topology_.n_edges, block_->edges.kept_per_edge());
  block_->edges.forward(input, data_or_null(edges_), data(next_), data_or_null(kept_of_edges_), n_threads);
}

/// From the messages in their place.
template <class T>
void BlockRun<T>::update_atoms() {
  const int64_t n = topology_.n_owned;
  const int channels = block_->atom_channels;
  if (block_->out) {
    const at::Tensor messages = next_;
    next_ = given_.empty(n, channels);
    block_->out->apply(n, {data(messages), channels}, {data(next_), channels});
  }
  add(atoms(), n * channels, data(next_));
  if (block_->atom_norm) block_->atom_norm->forward(n, data(next_), atom_norm_);
  if (!block_->end_atoms) return;
  const int width = block_->end_atoms->outputs();
  next_ends_ = given_.empty(n, width);
  block_->end_atoms->apply(n, {data(std::as_const(next_)), channels}, {data(next_ends_), width});
  for (T *x = data(next_ends_), *end = x + n * width; x < end; ++x) *x = T(1) / (T(1) + std::exp(-*x));
}

template <class T>
typename Nodes<T>::Input BlockRun<T>::node_input() const {
  return {*line_, vectors_, data(nodes_), angles_.defined() ? data(angles_) : angles_given(), data(next_)};
}

template <class T>
at::Tensor BlockRun<T>::cut_rows(const std::vector<int32_t>& rows, const at::Tensor& from) const {
  const int channels = block_->edge_channels;
  at::Tensor cut = given_.empty(std::ssize(rows), channels);
  for (size_t k = 0; k < rows.size(); ++k)
    std::copy_n(data(from) + static_cast<int64_t>(rows[k]) * channels, channels,
                data(cut) + static_cast<int64_t>(k) * channels);
  return cut;
}

template <class T>
void BlockRun<T>::collect_outputs() {
  outputs_["atoms"] = next_;
  if (block_->end_atoms) {
    at::Tensor ends = given_.empty(topology_.n_owned, block_->end_columns);
    const int width = block_->end_atoms->outputs();
    for (int64_t atom = 0; atom < topology_.n_owned; ++atom)
      std::copy_n(data(std::as_const(next_ends_)) + atom * width, block_->end_columns,
                  data(ends) + atom * block_->end_columns);
    outputs_["end_atoms"] = ends;
  }
  if (block_->gives_edges) outputs_["edges"] = edges_;
  if (angles_.defined()) outputs_["angles"] = angles_;
  if (block_->gives_crossing) outputs_["crossing"] = cut_rows(line_->cut_edges, edges_);
}

template <class T>
void BlockRun<T>::update_nodes(bool keep, int n_threads) {
  at::Tensor nodes = given_.empty(line_->n_nodes(), block_->edge_channels);
  if (keep) kept_of_nodes_ = given_.empty(line_->n_angles(), block_->nodes->kept_per_angle());
  block_->nodes->forward(node_input(), data(nodes), data_or_null(kept_of_nodes_), n_threads);
  outputs_["nodes"] = nodes;
  outputs_["crossing"] = cut_rows(line_->cut_nodes, nodes);
}

template struct Block<float>;
template struct Block<double>;
template class BlockRun<float>;
template class BlockRun<double>;

}  // namespace distmlip::native::directed
