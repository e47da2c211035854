#include "native/directed/nodes.h"

#include "native/gated/matrices.h"

namespace distmlip::native::directed {

std::vector<int32_t> edges_of_rows(const LineGraph& line) {
  std::vector<int32_t> edges = line.edges;
  edges.insert(edges.end(), line.cut_edges.begin(), line.cut_edges.end());
  return edges;
}

namespace {

int64_t n_atoms(const LineGraph& line) { return std::ssize(line.first_angle) - 1; }

}  // namespace

template <class T>
SourceTables<T> tables_for(const GatedLayer<T>& layer, const LineGraph& line, const T* nodes, const T* atoms,
                           int n_threads) {
  const auto of = [&](size_t source, int64_t n, const T* rows) {
    return layer.source(source).of(n, {rows, layer.source(source).inputs()}, n_threads);
  };
  return {{of(0, line.n_rows(), nodes), of(1, line.n_nodes(), nodes), of(2, n_atoms(line), atoms)}};
}

template <class T>
SourceTables<T> zeros_like(const SourceTables<T>& tables) {
  SourceTables<T> zeros;
  for (size_t k = 0; k < most_sources; ++k) zeros.rows[k].assign(tables.rows[k].size(), T(0));
  return zeros;
}

template <class T>
void tables_back(const GatedLayer<T>& layer, const LineGraph& line, const SourceTables<T>& gradients,
                 T* nodes, T* atoms, int n_threads) {
  layer.source(0).back_of(line.n_rows(), gradients.rows[0], nodes, n_threads);
  layer.source(1).back_of(line.n_nodes(), gradients.rows[1], nodes, n_threads);
  layer.source(2).back_of(n_atoms(line), gradients.rows[2], atoms, n_threads);
}

template <class T>
Nodes<T>::Nodes(const Operators<T>& operators, const LengthTables<T>& tables,
                const NodeParameters& parameters)
    : operators_(operators),
      tables_(tables),
      weights_(parameters.messages.weights),
      messages_(operators, parameters.messages.layer, parameters.out.rows, parameters.messages.layer.own.rows,
                parameters.messages.layer.sources.size() < most_sources
                    ? 0
                    : parameters.messages.layer.sources[2].rows,
                parameters.out.rows),
      out_(operators, parameters.out) {
  gated::require(parameters.out, channels(), channels(), "out");
  if (tables.columns(weights_) != channels())
    invalid(tables.columns(weights_), " functions of the length for ", channels(), " channels");
}

template <class T>
void Nodes<T>::prepare(const Input& input, Inside& inside, int n_threads) const {
  inside.tables = tables_for(messages_.layer(), input.line, input.nodes, input.atoms, n_threads);
  inside.weights = functions_of(tables_, weights_, edges_of_rows(input.line), input.vectors, n_threads);
}

template <class T>
void Nodes<T>::forward(const Input& input, T* updated, T* kept, int n_threads) const {
  Inside inside;
  prepare(input, inside, n_threads);
  const int64_t n = input.line.n_nodes();
  Buffer<T> messages(static_cast<size_t>(n * channels() + slack));
  std::fill(messages.begin(), messages.end(), T(0));
  messages_.send({input.line, input.angles, &inside.tables, inside.weights.data()}, messages.data(), kept,
                 n_threads);
  std::copy_n(input.nodes, n * channels(), updated);
  Projection<T>::in_stretches(n, n_threads, [&](int64_t first, int64_t count) {
    out_.apply(count, {messages.data() + first * channels(), channels()},
               {updated + first * channels(), channels()}, true);
  });
}

template <class T>
void Nodes<T>::backward(const Input& input, const Gradients& gradients, const T* kept, int n_threads) const {
  Inside inside;
  prepare(input, inside, n_threads);
  const int64_t n = input.line.n_nodes();
  for (int64_t k = 0; k < n * channels(); ++k) gradients.nodes[k] += gradients.updated[k];
  Buffer<T> of_messages(static_cast<size_t>(n * channels() + slack));
  Projection<T>::in_stretches(n, n_threads, [&](int64_t first, int64_t count) {
    out_.back(count, {gradients.updated + first * channels(), channels()},
              {of_messages.data() + first * channels(), channels()}, false);
  });
  SourceTables<T> of_tables = zeros_like(inside.tables);
  Buffer<T> of_weights(inside.weights.size());
  std::fill(of_weights.begin(), of_weights.end(), T(0));
  messages_.backward({input.line, input.angles, &inside.tables, inside.weights.data()},
                     {of_messages.data(), gradients.angles, &of_tables, of_weights.data()}, kept, n_threads);
  tables_back(messages_.layer(), input.line, of_tables, gradients.nodes, gradients.atoms, n_threads);
  functions_back(tables_, weights_, operators_, edges_of_rows(input.line), input.vectors, of_weights.data(),
                 gradients.vectors);
}

template class Nodes<float>;
template class Nodes<double>;
template SourceTables<float> tables_for(const GatedLayer<float>&, const LineGraph&, const float*,
                                        const float*, int);
template SourceTables<double> tables_for(const GatedLayer<double>&, const LineGraph&, const double*,
                                         const double*, int);
template SourceTables<float> zeros_like(const SourceTables<float>&);
template SourceTables<double> zeros_like(const SourceTables<double>&);
template void tables_back(const GatedLayer<float>&, const LineGraph&, const SourceTables<float>&, float*,
                          float*, int);
template void tables_back(const GatedLayer<double>&, const LineGraph&, const SourceTables<double>&, double*,
                          double*, int);

}  // namespace distmlip::native::directed
