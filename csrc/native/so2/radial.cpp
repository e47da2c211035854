#include "native/so2/radial.h"

#include <cmath>

#include "native/gated/matrices.h"

namespace distmlip::native::so2 {

using kernels::irreps::most_coefficients;
using kernels::irreps::padded;

template <class T>
RadialFunctions<T>::RadialFunctions(const Operators<T>& operators, const RadialParameters& parameters,
                                    int n_pairs)
    : operators_(operators),
      columns_(parameters.columns),
      centres_(parameters.centres),
      exponent_(parameters.exponent) {
  if (columns_ < 1 || padded(columns_) != columns_)
    invalid(columns_, " radial functions; they must be a multiple of ", kernels::irreps::padding);
  if (parameters.ends.empty())
    read_network(parameters, n_pairs);
  else
    read_tables(parameters, n_pairs);
}

template <class T>
void RadialFunctions<T>::read_tables(const RadialParameters& parameters, int n_pairs) {
  cells_ = Cells(parameters.ends);
  if (std::ssize(parameters.cells) != cells_.n() * n_pairs)
    invalid("tables with ", parameters.cells.size(), " cells; there must be ", cells_.n(), " for each of ",
            n_pairs, " pairs of elements");
  n_coefficients_ = parameters.cells.front().rows;
  if (n_coefficients_ < 2 || n_coefficients_ > most_coefficients)
    invalid("tables of ", n_coefficients_, " coefficients; 2 to ", most_coefficients, " are possible");
  cell_stride_ = operators_.packed_size(n_coefficients_, columns_);
  tables_.resize(cell_stride_ * parameters.cells.size() + slack);
  T* to = tables_.data();
  for (const Matrix& cell : parameters.cells) {
    gated::require(cell, n_coefficients_, columns_, "a cell");
    operators_.pack(n_coefficients_, columns_, cell.values, columns_, 1, to);
    to += cell_stride_;
  }
}

template <class T>
void RadialFunctions<T>::read_network(const RadialParameters& parameters, int n_pairs) {
  const size_t n_layers = parameters.layers.size();
  if (n_layers == 0 || parameters.biases.size() + 1 != n_layers || parameters.norms.size() + 1 != n_layers)
    invalid("a radial network of ", n_layers, " layers with ", parameters.biases.size(), " biases and ",
            parameters.norms.size(), " norms");
  int width = static_cast<int>(centres_.size());
  widest_ = padded(width);
  for (size_t k = 0; k < n_layers; ++k) {
    const Matrix& layer = parameters.layers[k];
    const bool is_last = k + 1 == n_layers;
    gated::require(layer, width, is_last ? columns_ : layer.columns, "a layer of a radial network");
    width = layer.columns;
    if (padded(width) != width)
      invalid("a layer of ", width, " numbers; they must be a multiple of ", kernels::irreps::padding);
    layers_.emplace_back(operators_, layer);
    if (k == 0) {
      gated::require(parameters.pair_biases, n_pairs, width, "pair_biases");
      const double* of_pairs = parameters.pair_biases.values;
      biases_.emplace_back(of_pairs, of_pairs + static_cast<std::ptrdiff_t>(n_pairs) * width);
    } else {
      if (std::ssize(parameters.biases[k - 1]) != width)
        invalid(parameters.biases[k - 1].size(), " biases of ", width, " numbers");
      biases_.emplace_back(parameters.biases[k - 1].begin(), parameters.biases[k - 1].end());
    }
    if (is_last) break;
    const NormParameters& norm = parameters.norms[k];
    if (std::ssize(norm.scales) != width || std::ssize(norm.shifts) != width)
      invalid(norm.scales.size(), " scales and ", norm.shifts.size(), " shifts of ", width, " numbers");
    norms_.push_back({{norm.scales.begin(), norm.scales.end()},
                      {norm.shifts.begin(), norm.shifts.end()},
                      static_cast<T>(norm.epsilon)});
    widest_ = std::max(widest_, width);
  }
  ones_.assign(static_cast<size_t>(widest_), T(1));
}

template <class T>
int RadialFunctions<T>::place_of(int pair, double length) const {
  if (!has_tables()) return 0;
  double t, slope;
  return pair * cells_.n() + cells_.find(length, t, slope);
}

template <class T>
void RadialFunctions<T>::evaluate(int n, int per, const double* lengths, const int32_t* pairs, Memory& memory,
                                  T* to) const {
  if (has_tables()) return look_up(n, per, lengths, pairs, memory, to);
  const auto size = static_cast<size_t>(2 * edges_per_block * widest_ + slack);
  for (Buffer<T>* buffer : {&memory.in, &memory.out, &memory.kept, &memory.slopes})
    if (buffer->size() < size) buffer->resize(size);
  memory.roots.resize(edges_per_block);
  expand(n, per, lengths, memory);
  std::array<const T*, edges_per_block> from;
  std::array<T*, edges_per_block> rows;
  for (size_t k = 0; k < layers_.size(); ++k) {
    const PackedMatrix<T>& layer = layers_[k];
    const bool is_last = k + 1 == layers_.size();
    const int read = padded(layer.rows()), width = layer.columns();
    // Rows are all values, then all derivatives; those of the last layer, of each edge one behind the other.
    for (int of = 0; of < per; ++of) {
      const gated::Rows<T> into = is_last ? gated::Rows<T>{to + of * width, per * width}
                                          : gated::Rows<T>{memory.out.data() + of * n * width, width};
      for (int e = 0; e < n; ++e) {
        from[static_cast<size_t>(e)] = memory.in.data() + (of * n + e) * read;
        rows[static_cast<size_t>(e)] = into.at(e);
      }
      if (of == 0) start_with_biases(k, n, pairs, into);
      layer.multiply(operators_, {from.data(), static_cast<size_t>(n)}, rows.data(), of == 0);
    }
    if (!is_last) activate(k, n, per, memory);
  }
}

/// Gaussians, and their derivatives.
template <class T>
void RadialFunctions<T>::expand(int n, int per, const double* lengths, Memory& memory) const {
  const int width = padded(static_cast<int>(centres_.size()));
  for (int e = 0; e < n; ++e) {
    T *values = memory.in.data() + e * width, *derivatives = values + n * width;
    for (size_t k = 0; k < centres_.size(); ++k) {
      const double from = lengths[e] - centres_[k], value = std::exp(exponent_ * from * from);
      values[k] = static_cast<T>(value);
      if (per == 2) derivatives[k] = static_cast<T>(2 * exponent_ * from * value);
    }
  }
}

template <class T>
void RadialFunctions<T>::start_with_biases(size_t layer, int n, const int32_t* pairs,
                                           gated::Rows<T> to) const {
  const int width = layers_[layer].columns();
  for (int e = 0; e < n; ++e)
    std::copy_n(biases_[layer].data() + (layer == 0 ? pairs[e] * width : 0), width, to.at(e));
}

/// From memory.out to memory.in: silu of what is normalised, and derivatives.
template <class T>
void RadialFunctions<T>::activate(size_t layer, int n, int per, Memory& memory) const {
  const Norm& norm = norms_[layer];
  const int width = layers_[layer].columns(), size = n * width;
  T *values = memory.out.data(), *derivatives = values + size, *to = memory.in.data();
  operators_.gated.layer_norm(n, width, norm.scales.data(), norm.shifts.data(), norm.epsilon, values,
                              memory.kept.data(), memory.roots.data());
  operators_.silu(size, values, T(1), to, memory.slopes.data());
  if (per == 1) return;
  // The norm without its scales is its own adjoint.
  operators_.gated.layer_norm_back(n, width, ones_.data(), memory.kept.data(), memory.roots.data(),
                                   derivatives);
  for (int k = 0; k < size; ++k)
    to[size + k] =
        derivatives[k] * norm.scales[static_cast<size_t>(k % width)] * memory.slopes[static_cast<size_t>(k)];
}

template <class T>
void RadialFunctions<T>::look_up(int n, int per, const double* lengths, const int32_t* pairs, Memory& memory,
                                 T* to) const {
  std::array<T, edges_per_block> t, slopes;
  std::array<int32_t, edges_per_block> cells, places;
  for (size_t e = 0; e < static_cast<size_t>(n); ++e) {
    cells[e] = pairs[e] * cells_.n() + cells_.find(lengths[e], t[e], slopes[e]);
    places[e] = static_cast<int32_t>(e);
  }
  memory.polynomials.resize(static_cast<size_t>(2 * edges_per_block * most_coefficients));
  operators_.chebyshev(n, n_coefficients_, per, t.data(), slopes.data(), memory.polynomials.data());
  operators_.look_up(n, per, n_coefficients_, columns_, cells.data(), places.data(),
                     memory.polynomials.data(), tables_.data(), cell_stride_, to, columns_);
}

template class RadialFunctions<float>;
template class RadialFunctions<double>;

}  // namespace distmlip::native::so2
