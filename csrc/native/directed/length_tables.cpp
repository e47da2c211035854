#include "native/directed/length_tables.h"

#include <algorithm>

#include "native/gated/matrices.h"

namespace distmlip::native::directed {

using kernels::irreps::most_coefficients;

template <class T>
LengthTables<T>::LengthTables(const Operators<T>& operators, const TableParameters& parameters)
    : operators_(operators),
      cells_(parameters.ends),
      n_coefficients_(parameters.cells.empty() ? 0 : parameters.cells.front().rows) {
  if (std::ssize(parameters.cells) != cells_.n())
    invalid("tables for ", parameters.cells.size(), " of ", cells_.n(), " cells");
  if (n_coefficients_ < 2 || n_coefficients_ > most_coefficients)
    invalid("tables of ", n_coefficients_, " coefficients; 2 to ", most_coefficients, " are possible");
  int width = 0;
  for (const int columns : parameters.columns) {
    if (columns < 1) invalid("a group of ", columns, " functions");
    groups_.push_back({kernels::irreps::padded(columns), cell_stride_});
    cell_stride_ += operators.packed_size(n_coefficients_, columns);
    width += columns;
  }
  table_.resize(cell_stride_ * parameters.cells.size() + slack);
  T* to = table_.data();
  for (const Matrix& cell : parameters.cells) {
    gated::require(cell, n_coefficients_, width, "a cell");
    int first = 0;
    for (size_t g = 0; g < groups_.size(); ++g) {
      operators.pack(n_coefficients_, parameters.columns[g], cell.values + first, width, 1,
                     to + groups_[g].offset);
      first += parameters.columns[g];
    }
    to += cell_stride_;
  }
}

template <class T>
void LengthTables<T>::find(int n, const double* lengths, int per, Places& places) const {
  std::array<int, rows_per_block> cell_of;
  std::array<T, rows_per_block> t, slope;
  for (int e = 0; e < n; ++e) {
    const auto k = static_cast<size_t>(e);
    cell_of[k] = cells_.find(lengths[e], t[k], slope[k]);
    places.edges[k] = e;
  }
  std::sort(places.edges.begin(), places.edges.begin() + n, [&](int32_t a, int32_t b) {
    return std::pair(cell_of[static_cast<size_t>(a)], a) < std::pair(cell_of[static_cast<size_t>(b)], b);
  });
  std::array<T, rows_per_block> sorted_t, sorted_slope;
  for (size_t k = 0; k < static_cast<size_t>(n); ++k) {
    const auto e = static_cast<size_t>(places.edges[k]);
    places.cells[k] = cell_of[e];
    sorted_t[k] = t[e];
    sorted_slope[k] = slope[e];
  }
  places.n = n;
  places.per = per;
  places.polynomials.resize(static_cast<size_t>(2 * rows_per_block * most_coefficients));
  operators_.chebyshev(n, n_coefficients_, per, sorted_t.data(), sorted_slope.data(),
                       places.polynomials.data());
}

template <class T>
void LengthTables<T>::evaluate(int group, const Places& places, T* to, std::ptrdiff_t stride) const {
  const Group& of = groups_.at(static_cast<size_t>(group));
  operators_.look_up(places.n, places.per, n_coefficients_, of.columns, places.cells.data(),
                     places.edges.data(), places.polynomials.data(), table_.data() + of.offset, cell_stride_,
                     to, stride);
}

template <class T>
Buffer<T> functions_of(const LengthTables<T>& tables, int group, const std::vector<int32_t>& edges,
                       const T* vectors, int n_threads) {
  const int width = tables.columns(group);
  Buffer<T> rows(edges.size() * static_cast<size_t>(width) + slack);
  gated::Projection<T>::in_stretches(std::ssize(edges), n_threads, [&](int64_t first, int64_t count) {
    typename LengthTables<T>::Places places;
    std::array<double, rows_per_block> lengths;
    for (int64_t k = first; k < first + count; k += rows_per_block) {
      const auto n = static_cast<int>(std::min<int64_t>(rows_per_block, first + count - k));
      for (int e = 0; e < n; ++e)
        lengths[static_cast<size_t>(e)] =
            length_of(vectors + 3 * static_cast<int64_t>(edges[static_cast<size_t>(k + e)]));
      tables.find(n, lengths.data(), 1, places);
      tables.evaluate(group, places, rows.data() + k * width, width);
    }
  });
  return rows;
}

template <class T>
void functions_back(const LengthTables<T>& tables, int group, const Operators<T>& operators,
                    const std::vector<int32_t>& edges, const T* vectors, const T* gradients, T* to) {
  const int width = tables.columns(group);
  Buffer<T> rows(static_cast<size_t>(2 * rows_per_block * width + slack));
  typename LengthTables<T>::Places places;
  std::array<double, rows_per_block> lengths;
  std::array<T, rows_per_block> by_length;
  for (int64_t k = 0; k < std::ssize(edges); k += rows_per_block) {
    const auto n = static_cast<int>(std::min<int64_t>(rows_per_block, std::ssize(edges) - k));
    const auto at = [&](int e) { return 3 * static_cast<int64_t>(edges[static_cast<size_t>(k + e)]); };
    for (int e = 0; e < n; ++e) lengths[static_cast<size_t>(e)] = length_of(vectors + at(e));
    tables.find(n, lengths.data(), 2, places);
    tables.evaluate(group, places, rows.data(), width);
    std::fill_n(by_length.data(), n, T(0));
    operators.gated.add_dots(n, width, gradients + k * width, width, rows.data() + width, 2 * width,
                             by_length.data());
    for (int e = 0; e < n; ++e)
      for (int64_t x = at(e); x < at(e) + 3; ++x)
        to[x] +=
            by_length[static_cast<size_t>(e)] / static_cast<T>(lengths[static_cast<size_t>(e)]) * vectors[x];
  }
}

template class LengthTables<float>;
template Buffer<float> functions_of(const LengthTables<float>&, int, const std::vector<int32_t>&,
                                    const float*, int);
template void functions_back(const LengthTables<float>&, int, const Operators<float>&,
                             const std::vector<int32_t>&, const float*, const float*, float*);
template class LengthTables<double>;
template Buffer<double> functions_of(const LengthTables<double>&, int, const std::vector<int32_t>&,
                                     const double*, int);
template void functions_back(const LengthTables<double>&, int, const Operators<double>&,
                             const std::vector<int32_t>&, const double*, const double*, double*);

}  // namespace distmlip::native::directed
