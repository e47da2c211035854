#include "native/gated/bases.h"

#include <ATen/ops/empty.h>

#include <cmath>

namespace distmlip::native::gated {
namespace {

/// Cosines are taken a little nearer to zero: their arc would have no derivative at the ends.
constexpr double shrunk = 1 - 1e-6;

template <class T>
T dot(const T* a, const T* b) {
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

template <class T>
struct Bend {
  T lengths[2], cosine;
  Bend(const T* a, const T* b)
      : lengths{std::sqrt(dot(a, a)), std::sqrt(dot(b, b))}, cosine(dot(a, b) / (lengths[0] * lengths[1])) {}
};

template <class T>
std::vector<T> padded_frequencies(const std::vector<double>& frequencies, size_t at_least) {
  std::vector<T> all(frequencies.begin(), frequencies.end());
  all.resize(static_cast<size_t>(kernels::irreps::padded(static_cast<int>(at_least))), T(0));
  return all;
}

}  // namespace

template <class T>
Bases<T>::Radial::Radial(const RadialBasis& of)
    : basis(of),
      n(kernels::irreps::padded(of.size())),
      frequencies(padded_frequencies<T>(of.frequencies, of.frequencies.size())) {
  if (of.transform || of.with_envelope) invalid("a basis of bonds knows neither transforms nor its envelope");
}

template <class T>
Bases<T>::Bases(const Operators<T>& operators, const BasisParameters& parameters)
    : operators_(operators),
      bonds_(parameters.bonds),
      short_bonds_(parameters.short_bonds),
      angle_frequencies_(
          padded_frequencies<T>(parameters.angle_frequencies, parameters.angle_frequencies.size())) {
  if (parameters.bond_embedding.rows != of_bonds() || parameters.bond_weights.rows != of_bonds() ||
      parameters.short_weights.rows != of_short_bonds() || parameters.angle_embedding.rows != of_angles())
    invalid("embeddings with ", parameters.bond_embedding.rows, ", ", parameters.bond_weights.rows, ", ",
            parameters.short_weights.rows, " and ", parameters.angle_embedding.rows, " rows; their bases have ",
            of_bonds(), ", ", of_bonds(), ", ", of_short_bonds(), " and ", of_angles());
}

template <class T>
BasisRows Bases<T>::rows(const Topology& topology, const at::Tensor& vectors, bool with_angles,
                         int n_threads) const {
  const auto empty = [&](int64_t n, int width) { return at::empty({n, width}, vectors.options()); };
  const auto n_pairs = std::ssize(topology.pairs);
  BasisRows rows{empty(topology.n_bonds, 2 * of_bonds()), {}, {}};
  const T* v = vectors.const_data_ptr<T>();
  const auto fill = [&](int64_t n, const at::Tensor& table, auto work) {
    T* to = table.template mutable_data_ptr<T>();
    const int64_t width = table.size(1);
    Projection<T>::in_stretches(n, n_threads, [&](int64_t first, int64_t count) {
      for (int64_t k = 0; k < count; k += rows_per_block)
        work(first + k, std::min<int64_t>(rows_per_block, count - k), to + (first + k) * width);
    });
  };
  fill(topology.n_bonds, rows.bonds, [&](int64_t first, int64_t count, T* to) {
    radial_rows(bonds_, topology, v, first, count, to);
  });
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
  std::array<T, rows_per_block> lengths, factors, slopes;
  for (size_t k = 0; k < static_cast<size_t>(count); ++k) {
    const T* v = vectors + 3 * static_cast<int64_t>(topology.edge_of_bond[static_cast<size_t>(first) + k]);
    lengths[k] = std::sqrt(dot(v, v));
    const auto length = static_cast<double>(lengths[k]);
    const ValueAndSlope envelope = radial.basis.envelope.at(length);
    factors[k] = static_cast<T>(radial.basis.factor * envelope.value / length);
    slopes[k] =
        static_cast<T>(radial.basis.factor * (envelope.slope - envelope.value / length) / length);
  }
  operators_.bessel(static_cast<int>(count), radial.n, lengths.data(), radial.frequencies.data(),
                    factors.data(), slopes.data(), rows);
}

template <class T>
void Bases<T>::angle_rows(const Topology& topology, const T* vectors, int64_t first, int64_t count,
                          T* rows) const {
  std::array<T, rows_per_block> angles;
  for (size_t k = 0; k < static_cast<size_t>(count); ++k) {
    const auto& [e, f] = topology.pairs[static_cast<size_t>(first) + k].edges;
    angles[k] = std::acos(Bend<T>(vectors + 3 * static_cast<int64_t>(e), vectors + 3 * static_cast<int64_t>(f))
                              .cosine *
                          T(shrunk));
  }
  operators_.fourier(static_cast<int>(count), of_angles() / 2, angles.data(), angle_frequencies_.data(), rows);
}

template <class T>
at::Tensor Bases<T>::vector_gradients(const Topology& topology, const at::Tensor& vectors, const T* by_length,
                                      const T* by_angle) const {
  at::Tensor gradients = at::empty({topology.n_edges, 3}, vectors.options());
  const T* v = vectors.const_data_ptr<T>();
  T* to = gradients.template mutable_data_ptr<T>();
  std::fill_n(to, gradients.numel(), T(0));
  for (size_t b = 0; b < static_cast<size_t>(topology.n_bonds); ++b) {
    const int64_t at = 3 * static_cast<int64_t>(topology.edge_of_bond[b]);
    const T scale = by_length[b] / std::sqrt(dot(v + at, v + at));
    for (int64_t k = at; k < at + 3; ++k) to[k] += scale * v[k];
  }
  if (by_angle == nullptr) return gradients;
  for (size_t p = 0; p < topology.pairs.size(); ++p) {
    const int64_t e = 3 * static_cast<int64_t>(topology.pairs[p].edges[0]),
                  f = 3 * static_cast<int64_t>(topology.pairs[p].edges[1]);
    const Bend<T> bend(v + e, v + f);
    const T near = bend.cosine * T(shrunk), scale = -by_angle[p] * T(shrunk) / std::sqrt((1 - near) * (1 + near));
    const T a = 1 / bend.lengths[0], b = 1 / bend.lengths[1];
    for (int64_t k = 0; k < 3; ++k) {
      const T of_first = v[e + k] * a, of_second = v[f + k] * b;
      to[e + k] += scale * a * (of_second - bend.cosine * of_first);
      to[f + k] += scale * b * (of_first - bend.cosine * of_second);
    }
  }
  return gradients;
}

template class Bases<float>;
template class Bases<double>;

}  // namespace distmlip::native::gated
