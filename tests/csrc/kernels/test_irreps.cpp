// The operators of kernels/irreps by every instruction set of the processor, on memory of just the size that
// they say they touch: for sanitizers. All sets give about the same; what is right, the Python tests know.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/irreps/operators.h"
#include "kernels/tensor_algebra.h"

using namespace distmlip::kernels;
using irreps::Operators;

namespace {

template <class T>
class Computed {
 public:
  explicit Computed(const Operators<T>& operators) : of_(operators) {}

  std::vector<T> all() {
    for (const int rows : {1, 5, 6, 7, 13}) multiply(rows);
    for (const int n_edges : {1, 7, 33}) harmonics(n_edges);
    for (const int n_edges : {1, 3, 20}) look_up(n_edges);
    for (const int n_in : {1, 3, 5, 7})
      for (const int n_out : {1, 3, 5, 7}) convolve(n_in, n_out);
    for (const int n_atoms : {1, 4, 5}) contract(n_atoms);
    activate();
    for (const int rows_of_irrep : {1, 3, 5}) scale(rows_of_irrep);
    tensors();
    for (const int width : {16, 48, 64})
      for (const int n_rows : {1, 5}) gated(n_rows, width);
    waves();
    return std::move(found_);
  }

 private:
  std::vector<T> random(int64_t n) {
    std::vector<T> values(static_cast<size_t>(n));
    for (T& value : values) value = uniform_(random_);
    return values;
  }

  void keep(const std::vector<T>& values, int64_t n) {
    found_.insert(found_.end(), values.begin(), values.begin() + n);
  }

  static std::vector<const T*> rows(const std::vector<T>& of, int n, int64_t stride) {
    std::vector<const T*> pointers;
    for (int k = 0; k < n; ++k) pointers.push_back(of.data() + k * stride);
    return pointers;
  }
  static std::vector<T*> rows(std::vector<T>& of, int n, int64_t stride) {
    std::vector<T*> pointers;
    for (int k = 0; k < n; ++k) pointers.push_back(of.data() + k * stride);
    return pointers;
  }

  std::vector<T> packed(int k, int n) {
    std::vector<double> values(static_cast<size_t>(k * n));
    for (double& value : values) value = static_cast<double>(uniform_(random_));
    std::vector<T> matrix(of_.packed_size(k, n));
    of_.pack(k, n, values.data(), n, 1, matrix.data());
    return matrix;
  }

  void multiply(int m) {
    const int k = 11, n = 40, columns = irreps::padded(n);
    const auto a = random(int64_t{m} * k);
    const auto b = packed(k, n);
    auto c = random(int64_t{m} * columns);
    const auto from = rows(a, m, k);
    const auto to = rows(c, m, columns);
    of_.multiply(m, from.data(), 1, k, columns, b.data(), to.data(), /*accumulate=*/true);
    keep(c, std::ssize(c));
  }

  void harmonics(int n) {
    const auto vectors = random(3 * n), of_values = random(irreps::n_harmonics * n), of_lengths = random(n);
    std::vector<T> values(of_values.size()), lengths(of_lengths.size()), back(vectors.size());
    const auto from = rows(vectors, n, 3);
    const auto to = rows(back, n, 3);
    of_.harmonics(n, from.data(), T(-1), values.data(), lengths.data());
    of_.harmonics_back(n, from.data(), T(-1), of_values.data(), of_lengths.data(), to.data());
    keep(values, std::ssize(values));
    keep(lengths, n);
    keep(back, std::ssize(back));
  }

  void look_up(int n_edges) {
    const int n_coefficients = 8, n_cells = 3, columns = irreps::padded(72), per = 2;
    std::vector<int32_t> cells, places;
    for (int e = 0; e < n_edges; ++e) {
      cells.push_back(n_cells * e / n_edges);
      places.push_back(n_edges - 1 - e);
    }
    const size_t cell_stride = of_.packed_size(n_coefficients, columns);
    std::vector<T> table;
    for (int cell = 0; cell < n_cells; ++cell) {
      const auto of_cell = packed(n_coefficients, columns);
      table.insert(table.end(), of_cell.begin(), of_cell.end());
    }
    const auto t = random(n_edges), scale = random(n_edges);
    std::vector<T> polynomials(static_cast<size_t>(n_edges * per * irreps::most_coefficients));
    std::vector<T> out(static_cast<size_t>(n_edges * per * columns));
    of_.chebyshev(n_edges, n_coefficients, per, t.data(), scale.data(), polynomials.data());
    of_.look_up(n_edges, per, n_coefficients, columns, cells.data(), places.data(), polynomials.data(),
                table.data(), cell_stride, out.data(), columns);
    keep(out, std::ssize(out));
  }

  void convolve(int n_in, int n_out) {
    const int n_edges = 5, channels = irreps::padded(40), n_couplings = n_in * n_out;
    const auto radial = random(int64_t{2} * n_edges * channels),
               senders = random(int64_t{n_edges} * n_in * channels),
               couplings = random(int64_t{n_edges} * n_couplings),
               gradient = random(int64_t{n_out} * channels);
    auto out = random(int64_t{n_out} * channels), of_senders = random(std::ssize(senders));
    // Behind the last edge's there is room for what the last vector writes.
    std::vector<T> of_couplings(static_cast<size_t>(n_edges * (n_couplings + 1) + irreps::padding));
    const auto from = rows(senders, n_edges, int64_t{n_in} * channels);
    const auto to = rows(of_senders, n_edges, int64_t{n_in} * channels);
    const irreps::PathEdges<T> edges{n_in,     n_out,       n_edges,  channels,         radial.data(),
                                     channels, from.data(), channels, couplings.data(), n_couplings};
    of_.convolve(edges, out.data(), channels);
    of_.convolve_back(edges, gradient.data(), channels, to.data(), of_couplings.data(), n_couplings + 1);
    keep(out, std::ssize(out));
    keep(of_senders, std::ssize(of_senders));
    keep(of_couplings, n_edges * (n_couplings + 1));
    of_.convolve_back(edges, gradient.data(), channels, nullptr, of_couplings.data(), n_couplings + 1);
    keep(of_couplings, n_edges * (n_couplings + 1));
  }

  /// Two outputs of three inputs, of all degrees.
  void contract(int n_atoms) {
    const std::vector<int32_t> n_firsts{2, 1};
    const std::vector<Monomials::First> firsts{{0, 2, true}, {2, 0, true}, {1, 1, false}};
    const std::vector<Monomials::Pair> pairs{{0, 2, false}, {1, 0, true}, {2, 1, true}};
    const std::vector<int16_t> triples{1, 2, 2};
    const Monomials monomials{n_firsts.data(), firsts.data(), pairs.data(), triples.data(), 2, 3};
    const int channels = irreps::padded(40), n_coefficients = 7;
    // The same number for all channels, as the order of channels is each set's own.
    std::vector<T> coefficients;
    const auto numbers = random(n_coefficients);
    for (int block = 0; block < channels / of_.n_lanes; ++block)
      for (const T number : numbers)
        coefficients.insert(coefficients.end(), static_cast<size_t>(of_.n_lanes), number);
    const auto x = random(int64_t{n_atoms} * 3 * channels),
               gradients = random(int64_t{n_atoms} * 2 * channels);
    auto back = random(std::ssize(x));
    std::vector<T> out(gradients.size());
    const auto inputs = rows(x, n_atoms, int64_t{3} * channels),
               of_outputs = rows(gradients, n_atoms, int64_t{2} * channels);
    const auto outputs = rows(out, n_atoms, int64_t{2} * channels),
               of_inputs = rows(back, n_atoms, int64_t{3} * channels);
    of_.contract(monomials, n_atoms, channels, n_coefficients, coefficients.data(), inputs.data(), channels,
                 outputs.data(), channels);
    of_.contract_back(monomials, n_atoms, channels, n_coefficients, coefficients.data(), inputs.data(),
                      channels, of_outputs.data(), channels, of_inputs.data());
    keep(out, std::ssize(out));
    keep(back, std::ssize(back));
  }

  void activate() {
    const auto x = random(3 * irreps::padding);
    std::vector<T> y(x.size()), slope(x.size());
    for (const auto activation : {of_.silu, of_.tanh}) {
      activation(static_cast<int>(x.size()), x.data(), T(1.7), y.data(), slope.data());
      keep(y, std::ssize(y));
      keep(slope, std::ssize(slope));
    }
  }

  void scale(int n) {
    const int n_edges = 5, channels = irreps::padded(40);
    const auto radial = random(int64_t{2} * n_edges * channels),
               senders = random(int64_t{n_edges} * n * channels), row = random(int64_t{n} * channels);
    auto out = random(int64_t{n} * channels), back = random(std::ssize(out)), lengths = random(n_edges);
    const auto from = rows(senders, n_edges, int64_t{n} * channels);
    const irreps::PathEdges<T> edges{n,        n,           n_edges,  channels, radial.data(),
                                     channels, from.data(), channels, nullptr,  0};
    of_.scale(edges, out.data(), channels);
    of_.scale_back(edges, row.data(), back.data(), channels, lengths.data());
    keep(out, std::ssize(out));
    keep(back, std::ssize(back));
    keep(lengths, n_edges);
  }

  void tensors() {
    const int channels = irreps::padded(40), size = n_tensor * channels;
    const auto a = random(size), b = random(size), gradient = random(size);
    auto a_back = random(size), b_back = random(size);
    std::vector<T> out(static_cast<size_t>(size));
    for (const auto& of : {of_.of_harmonics, of_.norm, of_.norms, of_.normalised}) {
      of.forward(channels, a.data(), out.data());
      of.backward(channels, a.data(), gradient.data(), a_back.data());
      keep(out, size);
      keep(a_back, size);
    }
    for (const auto& of : {of_.anticommutator, of_.twice_product, of_.plus_square}) {
      of.forward(channels, a.data(), b.data(), out.data());
      of.backward(channels, a.data(), b.data(), gradient.data(), a_back.data(), b_back.data());
      keep(out, size);
      keep(a_back, size);
      keep(b_back, size);
    }
  }

  void gated(int n, int width) {
    const int wide = 2 * width;
    const auto sources = random(int64_t{3} * n * wide), scales = random(wide), shifts = random(wide),
               gradients = random(int64_t{n} * width), weights = random(int64_t{2} * n * width);
    std::vector<T> sums(static_cast<size_t>(n * wide)), hidden(sums), hidden_slopes(sums), slopes(sums);
    std::vector<T> out(static_cast<size_t>(n * width)), roots(static_cast<size_t>(2 * n + irreps::padding));
    const auto of_sources = rows(sources, 3 * n, wide);
    of_.gated.sum_rows(n, wide, 3, of_sources.data(), sums.data());
    of_.gated.silu_of_sums(n, wide, 3, of_sources.data(), hidden.data(), hidden_slopes.data());
    for (const bool is_normalised : {false, true}) {
      const irreps::Gate<T> gate{width, is_normalised ? scales.data() : nullptr, shifts.data(), T(1e-5)};
      auto x = sums;
      of_.gated.gated(gate, n, x.data(), out.data(), nullptr, roots.data());
      keep(out, n * width);
      x = sums;
      of_.gated.gated(gate, n, x.data(), out.data(), slopes.data(), roots.data());
      of_.gated.gated_back(gate, n, gradients.data(), slopes.data(), roots.data(), x.data());
      for (const auto* found : {&out, &slopes, &x, &hidden, &hidden_slopes}) keep(*found, std::ssize(*found));
    }
    auto sent = random(int64_t{n} * width), weight_gradients = random(int64_t{2} * n * width);
    const auto of_weights = rows(weights, 2 * n, width), given = rows(gradients, n, width);
    const auto to = rows(sent, n, width), back = rows(weight_gradients, 2 * n, width);
    of_.gated.weigh(n, width, out.data(), of_weights.data(), to.data());
    of_.gated.weigh_back(n, width, out.data(), given.data(), of_weights.data(), back.data());
    of_.gated.add_to_rows(n, width, out.data(), hidden.data(), 1, to.data());
    std::vector<T> dots(static_cast<size_t>(n));
    of_.gated.add_dots(n, width, out.data(), width, gradients.data(), width, dots.data());
    for (const auto* found : {&sent, &weight_gradients, &out, &dots}) keep(*found, std::ssize(*found));
  }

  void waves() {
    const std::vector<double> x{0.01, 2.5, 31.0},
        frequencies{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const auto factors = random(3), slopes = random(3);
    std::vector<T> lengths(3 * 32), angles(3 * 64);
    of_.gated.bessel(3, 16, x.data(), frequencies.data(), factors.data(), slopes.data(), lengths.data());
    of_.gated.fourier(3, 16, x.data(), frequencies.data(), angles.data());
    keep(lengths, std::ssize(lengths));
    keep(angles, std::ssize(angles));
  }

  const Operators<T>& of_;
  std::mt19937_64 random_{1};
  std::uniform_real_distribution<T> uniform_{-1, 1};
  std::vector<T> found_;
};

template <class T>
void compare(T tolerance) {
  const std::vector<T> expected = Computed<T>(irreps::operators<T>(Simd::portable)).all();
  for (const Simd simd : simd_sets()) {
    const std::vector<T> found = Computed<T>(irreps::operators<T>(simd)).all();
    if (found.size() != expected.size()) throw std::logic_error("other numbers");
    for (size_t k = 0; k < found.size(); ++k)
      if (!(std::abs(found[k] - expected[k]) <= tolerance * std::max(T(1), std::abs(expected[k]))))
        throw std::logic_error(std::string(name_of(simd)) + " differs in number " + std::to_string(k));
  }
}

/// A product is added to what is there by one rounding, not by one for each summand.
template <class T>
void add_to_large(const Operators<T>& operators) {
  const int k = 200, n = 24, columns = irreps::padded(n);
  const std::vector<T> a(static_cast<size_t>(k), T(1) / 3);
  const std::vector<double> ones(static_cast<size_t>(k * n), 1.0);
  std::vector<T> b(operators.packed_size(k, n)), c(static_cast<size_t>(columns), T(4096));
  operators.pack(k, n, ones.data(), n, 1, b.data());
  const T* from = a.data();
  T* to = c.data();
  operators.multiply(1, &from, 1, k, columns, b.data(), &to, /*accumulate=*/true);
  for (int column = 0; column < n; ++column)
    if (!(std::abs(c[static_cast<size_t>(column)] - (T(4096) + T(200) / 3)) <=
          4096 * std::numeric_limits<T>::epsilon()))
      throw std::logic_error("products are rounded to the size of what they are added to");
}

}  // namespace

int main() {
  try {
    for (const Simd simd : simd_sets()) {
      add_to_large(irreps::operators<float>(simd));
      add_to_large(irreps::operators<double>(simd));
    }
    compare<float>(1e-4f);
    compare<double>(1e-12);
  } catch (const std::exception& error) {
    std::puts(error.what());
    return 1;
  }
  std::puts("passed");
  return 0;
}
