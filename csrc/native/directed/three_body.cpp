#include "native/directed/three_body.h"

#include <algorithm>
#include <cmath>

#include "native/directed/three_body_memory.h"

namespace distmlip::native::directed {

using gated::atoms_per_chunk;
using kernels::irreps::padded;

namespace {

struct ValueAndSlope {
  double value = 0, slope = 0;
};

ValueAndSlope polynomial(const std::vector<double>& coefficients, double x) {
  ValueAndSlope at;
  for (size_t k = coefficients.size(); k-- > 0;) {
    at.slope = at.slope * x + at.value;
    at.value = at.value * x + coefficients[k];
  }
  return at;
}

/// sinᵐ · polynomial and its derivative by the cosine.
ValueAndSlope value_of(const AngularFunction& function, double cosine) {
  const ValueAndSlope factor = polynomial(function.polynomial, cosine);
  if (function.order == 0) return factor;
  const double square = 1 - cosine * cosine, power = std::pow(square, function.order / 2.0);
  return {power * factor.value, power * (factor.slope - function.order * cosine / square * factor.value)};
}

}  // namespace

template <class T>
ThreeBody<T>::ThreeBody(const Operators<T>& operators, const LengthTables<T>& tables,
                        const ThreeBodyParameters& parameters)
    : operators_(operators),
      tables_(tables),
      functions_(parameters.functions),
      function_of_(parameters.of_column),
      most_(1 - parameters.margin),
      group_(parameters.functions_of_length),
      reads_centres_(parameters.reads_centres) {
  for (const int function : function_of_)
    if (function < 0 || function >= std::ssize(functions_))
      invalid("function ", function, " of ", functions_.size(), " of angles");
  if (padded(columns() + 1) != tables.columns(group_))
    invalid(tables.columns(group_), " functions of the length for ", columns(), " columns");
  if (parameters.degrees.empty()) return;
  if (parameters.degrees.size() != functions_.size())
    invalid(parameters.degrees.size(), " degrees of ", functions_.size(), " functions of angles");
  for (const int degree : parameters.degrees) {
    if (degree < 0 || degree > kernels::irreps::largest_degree)
      invalid("degree ", degree, "; the largest one is ", kernels::irreps::largest_degree);
    largest_degree_ = std::max(largest_degree_, degree);
  }
  for (const int function : function_of_)
    degree_of_.push_back(parameters.degrees[static_cast<size_t>(function)]);
}

template <class T>
void ThreeBody<T>::forward(const Input& input, T* sums, int n_threads) const {
  const int width = padded_columns();
  const int64_t n_owned = input.topology.n_owned, n_chunks = gated::chunks_of(n_owned);
  parallel_for(n_chunks, n_threads, [&](int64_t chunk, int) {
    Memory memory;
    const int64_t end = std::min(n_owned, (chunk + 1) * atoms_per_chunk);
    for (int64_t atom = chunk * atoms_per_chunk; atom < end; ++atom) {
      const auto row = static_cast<size_t>(atom);
      const int64_t first = input.topology.first_edge[row], last = input.topology.first_edge[row + 1];
      std::fill_n(sums + first * width, (last - first) * width, T(0));
      prepare(input, atom, false, memory);
      const int stride = tables_.columns(group_);
      for (size_t k = 0; k < memory.edges.size(); ++k) {
        const T own = memory.radial[2 * k * static_cast<size_t>(stride) + static_cast<size_t>(columns())];
        T* to = sums + static_cast<int64_t>(memory.edges[k]) * width;
        const T* from = memory.sums.data() + k * static_cast<size_t>(width);
        for (int c = 0; c < width; ++c) to[c] = own * from[c];
      }
    }
  });
}

/// Everything up to what edges get, but for their own function of the length.
template <class T>
void ThreeBody<T>::prepare(const Input& input, int64_t atom, bool keep, Memory& memory) const {
  const auto row = static_cast<size_t>(atom);
  memory.edges.assign(input.short_edges.edges.begin() + input.short_edges.first[row],
                      input.short_edges.edges.begin() + input.short_edges.first[row + 1]);
  const size_t n = memory.edges.size();
  const int width = padded_columns();
  memory.reserve(n, static_cast<size_t>(width), static_cast<size_t>(tables_.columns(group_)), keep);
  memory.vectors.clear();
  memory.ends.clear();
  memory.lengths.clear();
  memory.units.clear();
  for (const int32_t e : memory.edges) {
    const T* v = input.vectors + 3 * static_cast<int64_t>(e);
    const int64_t end = reads_centres_ ? atom : input.topology.senders[e];
    memory.vectors.push_back(v);
    memory.ends.push_back(input.end_atoms + end * columns());
    const double length = length_of(v);
    memory.lengths.push_back(length);
    for (int k = 0; k < 3; ++k) memory.units.push_back(static_cast<double>(v[k]) / length);
  }
  const auto count = static_cast<int>(n);
  evaluate_lengths(count, keep, memory);
  std::fill_n(memory.sums.data(), n * static_cast<size_t>(width), T(0));
  find_pairs(count, memory);
  if (!by_pairs()) {
    operators_.harmonics(count, memory.vectors.data(), T(1), memory.harmonics.data(),
                         memory.own_lengths.data());
    add_sums(count, memory);
  }
  add_pairs(memory);
}

/// Functions of the length, and with them what each edge gives the others.
template <class T>
void ThreeBody<T>::evaluate_lengths(int n, bool keep, Memory& memory) const {
  const int stride = tables_.columns(group_), width = padded_columns();
  for (int first = 0; first < n; first += rows_per_block) {
    const int count = std::min(rows_per_block, n - first);
    tables_.find(count, memory.lengths.data() + first, keep ? 2 : 1, memory.places);
    // A row for derivatives in either case.
    tables_.evaluate(group_, memory.places, memory.radial.data() + 2 * first * stride,
                     keep ? stride : 2 * stride);
  }
  for (int k = 0; k < n; ++k) {
    const T* radial = memory.radial.data() + 2 * k * stride;
    T* weights = memory.weights.data() + k * width;
    std::fill_n(weights, width, T(0));
    for (int c = 0; c < columns(); ++c) weights[c] = radial[c] * memory.ends[static_cast<size_t>(k)][c];
  }
}

/// All pairs, or those whose cosine has to be kept away from ±1.
template <class T>
void ThreeBody<T>::find_pairs(int n, Memory& memory) const {
  memory.pairs.clear();
  for (int i = 0; i < n; ++i) {
    const double* a = memory.units.data() + 3 * i;
    for (int j = 0; j < i; ++j) {
      const double* b = memory.units.data() + 3 * j;
      const double cosine = a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
      if (by_pairs() || std::abs(cosine) > most_) memory.pairs.push_back({i, j, cosine});
    }
  }
}

/// Values and slopes of the columns' functions of an angle; or, beside sums over edges, what they lack.
template <class T>
void ThreeBody<T>::angular(double cosine, Memory& memory) const {
  memory.values.assign(static_cast<size_t>(columns()), 0.0);
  memory.slopes.assign(static_cast<size_t>(columns()), 0.0);
  const double kept = std::clamp(cosine, -most_, most_);
  for (size_t c = 0; c < function_of_.size(); ++c) {
    const AngularFunction& function = functions_[static_cast<size_t>(function_of_[c])];
    ValueAndSlope at = value_of(function, kept);
    if (kept != cosine) at.slope = 0;
    if (!by_pairs()) {
      const ValueAndSlope summed = value_of(function, cosine);
      at.value -= summed.value;
      at.slope -= summed.slope;
    }
    memory.values[c] = at.value;
    memory.slopes[c] = at.slope;
  }
}

/// By the addition theorem, Σ_m Y_lm(a) Y_lm(b) = (2 l + 1) P_l(a · b), without what an edge gives itself: in
/// float64, because that may be far more than what it gets of the others.
template <class T>
void ThreeBody<T>::add_sums(int n, Memory& memory) const {
  const int width = padded_columns();
  add_up(n, memory, memory.weights.data(), memory.of_harmonics.data());
  for (int k = 0; k < n; ++k) {
    const T *y = memory.harmonics.data() + k * harmonics_per_edge, *w = memory.weights.data() + k * width;
    for (int c = 0; c < columns(); ++c) {
      double sum = 0;
      for (const int h : harmonics_of(c)) {
        const auto of_edge = static_cast<double>(y[h]);
        sum += of_edge * (memory.of_harmonics[static_cast<size_t>(h * width + c)] -
                          of_edge * static_cast<double>(w[c]));
      }
      memory.sums[static_cast<size_t>(k * width + c)] += static_cast<T>(sum);
    }
  }
}

/// Sums over edges of harmonics times rows: [harmonic][column].
template <class T>
void ThreeBody<T>::add_up(int n, const Memory& memory, const T* rows, double* totals) const {
  const int width = padded_columns();
  std::fill_n(totals, harmonics_per_edge * width, 0.0);
  for (int k = 0; k < n; ++k) {
    const T *y = memory.harmonics.data() + k * harmonics_per_edge, *row = rows + k * width;
    for (int h = 0; h < n_harmonics(); ++h)
      for (int c = 0; c < width; ++c)
        totals[h * width + c] += static_cast<double>(y[h]) * static_cast<double>(row[c]);
  }
}

template <class T>
void ThreeBody<T>::add_pairs(Memory& memory) const {
  const int width = padded_columns();
  for (const Pair& pair : memory.pairs) {
    angular(pair.cosine, memory);
    const T *first = memory.weights.data() + pair.first * width,
            *second = memory.weights.data() + pair.second * width;
    T *to_first = memory.sums.data() + pair.first * width,
      *to_second = memory.sums.data() + pair.second * width;
    for (int c = 0; c < columns(); ++c) {
      const auto value = static_cast<T>(memory.values[static_cast<size_t>(c)]);
      to_first[c] += value * second[c];
      to_second[c] += value * first[c];
    }
  }
}

template class ThreeBody<float>;
template class ThreeBody<double>;

}  // namespace distmlip::native::directed
