#include "native/gated/bases.h"

#include <cmath>

#include "exchange/host_tensors.h"
#include "native/gated/matrices.h"

namespace distmlip::native::gated {
namespace {

/// Cosines are taken a little nearer to zero: their arc would have no derivative at the ends.
constexpr double shrunk = 1 - 1e-6;

template <class T>
double dot(const T* a, const T* b) {
  double sum = 0;
  for (int k = 0; k < 3; ++k) sum += static_cast<double>(a[k]) * static_cast<double>(b[k]);
  return sum;
}

/// In float64: where an angle is nearly straight, its cosine says little of it.
struct Bend {
  double lengths[2], cosine;
  template <class T>
  Bend(const T* a, const T* b)
      : lengths{std::sqrt(dot(a, a)), std::sqrt(dot(b, b))}, cosine(dot(a, b) / (lengths[0] * lengths[1])) {}
  double shrunk_cosine() const { return cosine * shrunk; }
};

std::vector<double> padded_frequencies(std::vector<double> frequencies) {
  frequencies.resize(static_cast<size_t>(kernels::irreps::padded(static_cast<int>(frequencies.size()))), 0.0);
  return frequencies;
}

}  // namespace

template <class T>
Bases<T>::Radial::Radial(const RadialBasis& of)
    : basis(of), n(kernels::irreps::padded(of.size())), frequencies(padded_frequencies(of.frequencies)) {
  if (of.transform || of.with_envelope) invalid("a basis of bonds knows neither transforms nor its envelope");
}

template <class T>
Bases<T>::Bases(const Operators<T>& operators, const BasisParameters& parameters)
    : operators_(operators),
      bonds_(parameters.bonds),
      short_bonds_(parameters.short_bonds),
      angle_frequencies_(padded_frequencies(parameters.angle_frequencies)) {
  const int channels = parameters.bond_embedding.columns;
  require(parameters.bond_embedding, of_bonds(), channels, "bond_embedding");
  require(parameters.bond_weights, of_bonds(), channels, "bond_weights");
  require(parameters.short_weights, of_short_bonds(), channels, "short_weights");
  require(parameters.angle_embedding, of_angles(), channels, "angle_embedding");
}

template <class T>
BasisRows Bases<T>::rows(const Topology& topology, const at::Tensor& vectors, bool with_angles,
                         int n_threads) const {
  const auto empty = [&](int64_t n, int width) { return exchange::empty({n, width}, vectors.options()); };
  const auto n_pairs = std::ssize(topology.pairs);
  BasisRows rows{empty(topology.n_bonds, 2 * of_bonds()), {}, {}};
  const T* v = vectors_of<T>(topology, vectors);
  const auto fill = [&](int64_t n, const at::Tensor& table, auto work) {
    T* to = table.template mutable_data_ptr<T>();
    const int64_t width = table.size(1);
    Projection<T>::in_stretches(n, n_threads, [&](int64_t first, int64_t count) {
      for (int64_t k = 0; k < count; k += rows_per_block)
        work(first + k, std::min<int64_t>(rows_per_block, count - k), to + (first + k) * width);
    });
  };
  fill(topology.n_bonds, rows.bonds,
       [&](int64_t first, int64_t count, T* to) { radial_rows(bonds_, topology, v, first, count, to); });
  if (!with_angles) return rows;
  rows.short_bonds = empty(topology.n_short, 2 * of_short_bonds());
  rows.angles = empty(n_pairs, 2 * of_angles());
  fill(topology.n_short, rows.short_bonds, [&](int64_t first, int64_t count, T* to) {
    radial_rows(short_bonds_, topology, v, first, count, to);
  });
  fill(n_pairs, rows.angles,
       [&](int64_t first, int64_t count, T* to) { angle_rows(topology, v, first, count, to); });
  return rows;
}

template <class T>
void Bases<T>::radial_rows(const Radial& radial, const Topology& topology, const T* vectors, int64_t first,
                           int64_t count, T* rows) const {
  std::array<double, rows_per_block> lengths;
  std::array<T, rows_per_block> factors, slopes;
  for (size_t k = 0; k < static_cast<size_t>(count); ++k) {
    const T* v = vectors + 3 * static_cast<int64_t>(topology.edge_of_bond[static_cast<size_t>(first) + k]);
    const double length = lengths[k] = std::sqrt(dot(v, v));
    const ValueAndSlope envelope = radial.basis.envelope.at(length);
    factors[k] = static_cast<T>(radial.basis.factor * envelope.value / length);
    slopes[k] = static_cast<T>(radial.basis.factor * (envelope.slope - envelope.value / length) / length);
  }
  operators_.gated.bessel(static_cast<int>(count), radial.n, lengths.data(), radial.frequencies.data(),
                          factors.data(), slopes.data(), rows);
}

template <class T>
void Bases<T>::angle_rows(const Topology& topology, const T* vectors, int64_t first, int64_t count,
                          T* rows) const {
  std::array<double, rows_per_block> angles;
  for (size_t k = 0; k < static_cast<size_t>(count); ++k) {
    const auto& [e, f] = topology.pairs[static_cast<size_t>(first) + k].edges;
    angles[k] = std::acos(
        Bend(vectors + 3 * static_cast<int64_t>(e), vectors + 3 * static_cast<int64_t>(f)).shrunk_cosine());
  }
  operators_.gated.fourier(static_cast<int>(count), of_angles() / 2, angles.data(), angle_frequencies_.data(),
                           rows);
}

template <class T>
at::Tensor Bases<T>::vector_gradients(const Topology& topology, const at::Tensor& vectors, const T* by_length,
                                      const T* by_angle) const {
  at::Tensor gradients = exchange::empty({topology.n_edges, 3}, vectors.options());
  const T* v = vectors.const_data_ptr<T>();
  T* to = gradients.template mutable_data_ptr<T>();
  std::fill_n(to, gradients.numel(), T(0));
  for (size_t b = 0; b < static_cast<size_t>(topology.n_bonds); ++b) {
    const int64_t at = 3 * static_cast<int64_t>(topology.edge_of_bond[b]);
    const T scale = by_length[b] / static_cast<T>(std::sqrt(dot(v + at, v + at)));
    for (int64_t k = at; k < at + 3; ++k) to[k] += scale * v[k];
  }
  if (by_angle == nullptr) return gradients;
  for (size_t p = 0; p < topology.pairs.size(); ++p) {
    const int64_t e = 3 * static_cast<int64_t>(topology.pairs[p].edges[0]),
                  f = 3 * static_cast<int64_t>(topology.pairs[p].edges[1]);
    const Bend bend(v + e, v + f);
    const double near = bend.shrunk_cosine();
    const double scale = -static_cast<double>(by_angle[p]) * shrunk / std::sqrt((1 - near) * (1 + near));
    const double a = 1 / bend.lengths[0], b = 1 / bend.lengths[1];
    for (int64_t k = 0; k < 3; ++k) {
      const double of_first = static_cast<double>(v[e + k]) * a,
                   of_second = static_cast<double>(v[f + k]) * b;
      to[e + k] += static_cast<T>(scale * a * (of_second - bend.cosine * of_first));
      to[f + k] += static_cast<T>(scale * b * (of_first - bend.cosine * of_second));
    }
  }
  return gradients;
}

template class Bases<float>;
template class Bases<double>;

}  // namespace distmlip::native::gated
