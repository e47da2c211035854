#include "native/radial.h"

#include <cmath>

namespace distmlip::native {
namespace {

constexpr int pairs_per_block = 24;

}  // namespace

template <class T>
Radial<T>::Radial(const Operators<T>& operators, const Cells& cells, const RadialTables& tables)
    : operators_(operators),
      n_coefficients_(tables.n_coefficients),
      n_cells_(cells.n()),
      of_pair_(tables.of_pair) {
  const int d = n_coefficients_;
  if (d < 2 || d > kernels::irreps::most_coefficients)
    invalid("tables of ", d, " coefficients; 2 to ", kernels::irreps::most_coefficients, " are possible");
  int width = 0;
  for (const int columns : tables.columns) {
    groups_.push_back({kernels::irreps::padded(columns), cell_stride_, {}});
    cell_stride_ += operators.packed_size(d, columns);
    width += columns;
  }
  const size_t n_tables = tables.cells.size() / static_cast<size_t>(n_cells_);
  for (const int table : of_pair_)
    if (table < 0 || static_cast<size_t>(table) >= n_tables) invalid("table ", table, " of ", n_tables);
  if (tables.cells.empty() || tables.cells.size() != n_tables * static_cast<size_t>(n_cells_))
    invalid("tables with ", tables.cells.size(), " cells, which must be a multiple of ", n_cells_);
  n_table_cells_ = tables.cells.size();
  cells_.resize(cell_stride_ * n_table_cells_ + slack);
  T* to = cells_.data();
  for (const Matrix& cell : tables.cells) {
    if (cell.rows != d || cell.columns != width)
      invalid("a cell (", cell.rows, ", ", cell.columns, "); it must be (", d, ", ", width, ")");
    int first = 0;
    for (size_t g = 0; g < groups_.size(); ++g) {
      operators.pack(d, tables.columns[g], cell.values + first, cell.columns, 1, to + groups_[g].offset);
      first += tables.columns[g];
    }
    to += cell_stride_;
  }
}

template <class T>
Radial<T>::Radial(const Operators<T>& operators, RadialNetwork network)
    : operators_(operators), network_(std::move(network)) {
  int width = network_->basis.size();
  if (network_->layers.empty() && network_->functions != RadialNetwork::Functions::hidden)
    invalid("a radial network without layers");
  for (const Matrix& layer : network_->layers) {
    if (layer.rows != width && layer.rows != width + 1)
      invalid("a layer of ", layer.rows, " inputs behind ", width, " numbers");
    layers_.emplace_back(operators, layer);
    width = layer.columns;
  }
  hidden_ = kernels::irreps::padded(width);
  if (network_->functions == RadialNetwork::Functions::density && (layers_.size() != 1 || width != 1))
    invalid("tanh(x^2) of ", width, " numbers");
  if (network_->functions != RadialNetwork::Functions::groups) add_hidden_groups();
  for (const Matrix& group : network_->groups) {
    if (group.rows != width) invalid("a group of ", group.rows, " inputs behind ", width, " numbers");
    groups_.push_back({kernels::irreps::padded(group.columns), 0, PackedMatrix<T>(operators, group)});
  }
}

template <class T>
void Radial<T>::add_hidden_groups() {
  std::vector<int> columns = network_->columns;
  if (columns.empty()) columns.push_back(hidden_);
  int offset = 0;
  for (const int of_group : columns) {
    if (of_group < 1 || kernels::irreps::padded(of_group) != of_group)
      invalid("a group of ", of_group, " hidden numbers, which is not padded");
    groups_.push_back({of_group, static_cast<size_t>(offset), {}});
    offset += of_group;
  }
  if (offset > hidden_) invalid("groups of ", offset, " hidden numbers of ", hidden_);
}

template <class T>
void Radial<T>::evaluate_pairs(int64_t n, const double* lengths, const int32_t* species_pairs,
                               T* kept) const {
  const RadialBasis& basis = network_->basis;
  const int widest = widest_layer() + kernels::irreps::padding;  // a one for biases
  std::vector<double> values(static_cast<size_t>(basis.size())), derivatives(values);
  Buffer<T> in(static_cast<size_t>(2 * pairs_per_block * widest + slack)), out(in.size());
  std::vector<T> slope(static_cast<size_t>(widest));
  std::vector<const T*> a;
  std::vector<T*> c;
  for (int64_t first = 0; first < n; first += pairs_per_block) {
    const int of_block = static_cast<int>(std::min<int64_t>(pairs_per_block, n - first));
    a.clear();
    c.clear();
    for (int k = 0; k < 2 * of_block; ++k) {
      a.push_back(in.data() + k * widest);
      c.push_back(out.data() + k * widest);
    }
    for (int k = 0; k < of_block; ++k) {
      basis.evaluate(lengths[first + k], species_pairs[first + k], values.data(), derivatives.data());
      T* to = in.data() + 2 * k * widest;
      std::copy(values.begin(), values.end(), to);
      std::copy(derivatives.begin(), derivatives.end(), to + widest);
      if (layers_.empty()) keep(to, widest, kept + (first + k) * pair_size());
    }
    for (size_t l = 0; l < layers_.size(); ++l) {
      const int width_in = l == 0 ? basis.size() : layers_[l - 1].columns();
      for (int k = 0; k < 2 * of_block; ++k) in[static_cast<size_t>(k * widest + width_in)] = T(k % 2 == 0);
      layers_[l].multiply(operators_, a, c.data(), false);
      const bool last = l + 1 == layers_.size();
      const int width = kernels::irreps::padded(layers_[l].columns());
      for (int k = 0; k < of_block; ++k) {
        const T *x = out.data() + 2 * k * widest, *dx = x + widest;
        T* to = last ? kept + (first + k) * pair_size() : in.data() + 2 * k * widest;
        activate(width, x, dx, to, to + (last ? hidden_ : widest), slope.data());
      }
    }
    if (network_->damping.kind != Envelope::Kind::none)
      for (int k = 0; k < of_block; ++k) damp(lengths[first + k], kept + (first + k) * pair_size());
  }
}

template <class T>
int Radial<T>::widest_layer() const {
  int widest = kernels::irreps::padded(network_->basis.size());
  for (const auto& layer : layers_) widest = std::max(widest, kernels::irreps::padded(layer.columns()));
  return widest;
}

/// The basis itself, and its derivatives behind `stride` numbers.
template <class T>
void Radial<T>::keep(const T* from, int stride, T* kept) const {
  std::fill_n(kept, pair_size(), T(0));
  std::copy_n(from, network_->basis.size(), kept);
  std::copy_n(from + stride, network_->basis.size(), kept + hidden_);
}

/// From numbers and their derivatives to those behind the activation; `slope`: scratch.
template <class T>
void Radial<T>::activate(int n, const T* x, const T* dx, T* to, T* slopes_to, T* slope) const {
  if (network_->functions == RadialNetwork::Functions::density) {
    const T square = std::tanh(x[0] * x[0]);
    std::fill_n(to, 2 * hidden_, T(0));
    *to = square;
    *slopes_to = (1 - square * square) * 2 * x[0] * dx[0];
    return;
  }
  operators_.silu(n, x, static_cast<T>(network_->silu_factor), to, slope);
  for (int b = 0; b < n; ++b) slopes_to[b] = slope[b] * dx[b];
}

template <class T>
void Radial<T>::damp(double length, T* kept) const {
  const ValueAndSlope damping = network_->damping.at(length);
  const T value = static_cast<T>(damping.value), slope = static_cast<T>(damping.slope);
  for (int b = 0; b < hidden_; ++b) {
    kept[hidden_ + b] = kept[hidden_ + b] * value + kept[b] * slope;
    kept[b] *= value;
  }
}

template <class T>
void Radial<T>::weights(EdgeBlock<T>& edges, size_t group, const Columns& columns, const T* kept, T* to,
                        std::ptrdiff_t stride) const {
  const Group& of = groups_[group];
  const auto [first, n, per] = columns;
  if (!is_exact()) {
    std::array<int32_t, edges_per_block> of_tables;
    const int32_t* cells = edges.cells.data();
    if (reads_species()) {
      for (size_t k = 0; k < static_cast<size_t>(edges.n); ++k) {
        const auto e = static_cast<size_t>(edges.by_cell[k]);
        of_tables[k] = cell_of(cells[k], edges.species_pairs[e]);
      }
      cells = of_tables.data();
    }
    operators_.look_up(
        edges.n, per, n_coefficients_, n, cells, edges.by_cell.data(), edges.polynomials.data(),
        cells_.data() + of.offset + static_cast<size_t>(first) * static_cast<size_t>(n_coefficients_),
        cell_stride_, to, stride);
    return;
  }
  const bool are_kept = network_->functions != RadialNetwork::Functions::groups;
  for (int e = 0; e < edges.n; ++e) {
    for (int k = 0; k < per; ++k) {
      const auto row = static_cast<size_t>(e * per + k);
      edges.rows[row] = kept + edges.pairs[static_cast<size_t>(e)] * pair_size() + k * hidden_ +
                        static_cast<std::ptrdiff_t>(of.offset);
      edges.c[row] = to + (e * per + k) * stride;
      if (are_kept) std::copy_n(edges.rows[row], n, edges.c[row]);
    }
  }
  if (are_kept) return;
  operators_.multiply(edges.n * per, edges.rows.data(), 1, of.matrix.rows(), n,
                      of.matrix.data() + static_cast<std::ptrdiff_t>(first) * of.matrix.rows(),
                      edges.c.data(), false);
}

template class Radial<float>;
template class Radial<double>;

}  // namespace distmlip::native
