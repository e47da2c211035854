#include "native/so2/edges.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "native/indices.h"

namespace distmlip::native::so2 {

using kernels::irreps::rotations_below;

template <class T>
KeptEdges<T>::KeptEdges(const executor::NativeGraph& graph, const at::Tensor& kept,
                        const std::vector<int>& numbers)
    : topology(graph), vectors(graph.vectors.const_data_ptr<T>()) {
  if (graph.vectors.size(0) != topology.n_edges)
    invalid(graph.vectors.size(0), " vectors of ", topology.n_edges, " edges");
  const Indices indices = indices_of(kept, "kept");
  first.assign(static_cast<size_t>(topology.n_owned) + 1, 0);
  for (int64_t k = 0; k < indices.n; ++k) {
    const int64_t edge = indices.at(k, topology.n_edges);
    if (k > 0 && edge <= indices.data[k - 1]) invalid("kept edges that do not ascend");
    edges.push_back(static_cast<int32_t>(edge));
    ++first[static_cast<size_t>(topology.receivers[edge]) + 1];
  }
  std::partial_sum(first.begin(), first.end(), first.begin());
  for (int64_t atom = 0; atom < topology.n_local; ++atom) {
    const auto found = std::find(numbers.begin(), numbers.end(), topology.numbers[atom]);
    if (found == numbers.end())
      invalid("atomic number ", topology.numbers[atom], ", for which the stage was not made");
    species.push_back(static_cast<int32_t>(found - numbers.begin()));
  }
}

template <class T>
Edges<T>::Edges(const Operators<T>& operators, const EdgeParameters& parameters, int mmax)
    : numbers_(parameters.numbers),
      lmax_(parameters.lmax),
      mmax_(mmax),
      channels_(parameters.channels),
      factor_(parameters.factor),
      envelope_{Envelope::Kind::polynomial, parameters.cutoff, parameters.envelope_power},
      rotations_(parameters.lmax),
      radial_(operators, parameters.radial,
              static_cast<int>(parameters.numbers.size() * parameters.numbers.size())) {
  if (mmax < 0 || mmax > lmax_) invalid("orders up to ", mmax, " of degrees up to ", lmax_);
  if (channels_ < 1 || kernels::irreps::padded(channels_) != channels_)
    invalid(channels_, " channels; they must be a multiple of ", kernels::irreps::padding);
  n_coefficients_ = n_rows(0);
  for (int m = 1; m <= mmax; ++m) n_coefficients_ += 4 * n_rows(m);
  for (int l = 0; l <= lmax_; ++l) {
    first_turns_.push_back(static_cast<int>(all_turns_.size()));
    for (const Rotations::Turn& turn : rotations_.turns()[static_cast<size_t>(l)])
      if (std::abs(turn.to) <= mmax)
        all_turns_.push_back({turn.about, turn.to, turn.from, static_cast<T>(turn.factor)});
  }
  first_turns_.push_back(static_cast<int>(all_turns_.size()));
}

template <class T>
FrameBlock<T> Edges<T>::block() const {
  FrameBlock<T> block;
  const auto rows = [](int width) { return static_cast<size_t>(edges_per_block * width); };
  block.rotations.resize(rows(rotations_.size()));
  block.rounded.resize(rows(rotations_.size()) + slack);
  block.radial.resize(rows(2 * radial_.columns()) + slack);
  block.coefficients.resize(rows(n_coefficients_) + slack);
  block.by_coefficients.resize(rows(n_coefficients_) + slack);
  return block;
}

template <class T>
std::vector<int32_t> Edges<T>::ordered(const KeptEdges<T>& kept, const Receivers& receivers) const {
  const int64_t begin = kept.first[static_cast<size_t>(receivers.first)],
                end = kept.first[static_cast<size_t>(receivers.first + receivers.n)];
  std::vector<std::pair<int, int32_t>> places;
  const int n_species = static_cast<int>(numbers_.size());
  for (int64_t k = begin; k < end; ++k) {
    const int64_t edge = kept.edges[static_cast<size_t>(k)];
    const T* vector = kept.vectors + 3 * edge;
    const int pair = kept.species[static_cast<size_t>(kept.topology.receivers[edge])] * n_species +
                     kept.species[static_cast<size_t>(kept.topology.senders[edge])];
    const double length = std::hypot(vector[0], vector[1], vector[2]);
    places.emplace_back(radial_.place_of(pair, length), static_cast<int32_t>(k));
  }
  std::sort(places.begin(), places.end());
  std::vector<int32_t> positions;
  for (const auto& [place, position] : places) positions.push_back(position);
  return positions;
}

template <class T>
void Edges<T>::fill(const KeptEdges<T>& kept, const Receivers& receivers, std::span<const int32_t> positions,
                    int per, FrameBlock<T>& block) const {
  const EdgeTopology& topology = kept.topology;
  block.n = static_cast<int>(positions.size());
  block.per = per;
  const int size = rotations_.size();
  for (size_t k = 0; k < positions.size(); ++k) {
    const int32_t edge = kept.edges[static_cast<size_t>(positions[k])];
    const int64_t sender = topology.senders[edge], receiver = topology.receivers[edge];
    block.edges[k] = edge;
    block.senders[k] = static_cast<int32_t>(sender);
    block.receivers[k] = static_cast<int32_t>(receiver - receivers.first);
    block.pairs[k] = kept.species[static_cast<size_t>(receiver)] * static_cast<int32_t>(numbers_.size()) +
                     kept.species[static_cast<size_t>(sender)];
    const T* vector = kept.vectors + 3 * static_cast<int64_t>(edge);
    double direction[] = {vector[0], vector[1], vector[2]};
    const double length = std::hypot(direction[0], direction[1], direction[2]);
    for (double& component : direction) component /= length;
    double* rotations = block.rotations.data() + static_cast<int>(k) * size;
    rotations_.evaluate(direction, rotations);
    std::copy_n(rotations, size, block.rounded.data() + static_cast<int>(k) * size);
    const auto [value, slope] = envelope_.at(length);
    block.lengths[k] = length;
    block.envelopes[k] = {factor_ * value, factor_ * slope};
    find_coefficients(rotations, factor_ * value,
                      block.coefficients.data() + static_cast<int>(k) * n_coefficients_);
  }
  radial_.evaluate(block.n, per, block.lengths.data(), block.pairs.data(), block.functions,
                   block.radial.data());
}

template <class T>
void Edges<T>::find_coefficients(const double* rotations, double envelope, T* to) const {
  const auto row = [&](int l, int m) { return rotations + rotations_below(l) + (l + m) * (2 * l + 1); };
  for (int l = 0; l <= lmax_; ++l)
    for (int n = 0; n < 2 * l + 1; ++n) *to++ = static_cast<T>(envelope * row(l, 0)[n]);
  for (int m = 1; m <= mmax_; ++m) {
    const int n_of_order = n_rows(m);
    int k = 0;
    for (int l = m; l <= lmax_; ++l)
      for (int n = 0; n < 2 * l + 1; ++n, ++k) {
        const T real = static_cast<T>(envelope * row(l, m)[n]),
                imaginary = static_cast<T>(envelope * row(l, -m)[n]);
        to[k] = real;
        to[n_of_order + k] = imaginary;
        to[2 * n_of_order + k] = imaginary;
        to[3 * n_of_order + k] = -real;
      }
    to += 4 * n_of_order;
  }
}

template <class T>
void Edges<T>::coefficients_back(const T* gradients, std::vector<double>& by_rotations) const {
  by_rotations.assign(static_cast<size_t>(rotations_.size()), 0.0);
  const auto row = [&](int l, int m) {
    return by_rotations.data() + rotations_below(l) + (l + m) * (2 * l + 1);
  };
  for (int l = 0; l <= lmax_; ++l)
    for (int n = 0; n < 2 * l + 1; ++n) row(l, 0)[n] = static_cast<double>(*gradients++);
  for (int m = 1; m <= mmax_; ++m) {
    const int n_of_order = n_rows(m);
    const auto at = [&](int part, int k) { return static_cast<double>(gradients[part * n_of_order + k]); };
    int k = 0;
    for (int l = m; l <= lmax_; ++l)
      for (int n = 0; n < 2 * l + 1; ++n, ++k) {
        row(l, m)[n] = at(0, k) - at(3, k);
        row(l, -m)[n] = at(1, k) + at(2, k);
      }
    gradients += 4 * n_of_order;
  }
}

template <class T>
void Edges<T>::write_gradient(const FrameBlock<T>& block, int edge, const T* by_turns_and_length,
                              T* vectors) const {
  const auto k = static_cast<size_t>(edge);
  const double* rotations = block.rotations.data() + edge * rotations_.size();
  thread_local std::vector<double> by_rotations;
  coefficients_back(block.by_coefficients.data() + edge * n_coefficients_, by_rotations);
  const double by_envelope = std::inner_product(by_rotations.begin(), by_rotations.end(), rotations, 0.0);
  double by_turn[2] = {0, 0};
  for (int l = 1; l <= lmax_; ++l) {
    const int n = 2 * l + 1, begin = rotations_below(l) + l * n;
    for (const Rotations::Turn& turn : rotations_.turns()[static_cast<size_t>(l)]) {
      const double* gradient = by_rotations.data() + begin + turn.to * n;
      by_turn[turn.about] +=
          turn.factor * std::inner_product(gradient, gradient + n, rotations + begin + turn.from * n, 0.0);
    }
  }
  const auto& [envelope, slope] = block.envelopes[k];
  for (int axis = 0; axis < 2; ++axis)
    by_turn[axis] = by_turn[axis] * envelope + static_cast<double>(by_turns_and_length[axis]);
  const double by_length = static_cast<double>(by_turns_and_length[2]) + by_envelope * slope;
  // The axes are the rows of the matrix of degree one; the second one is along the vector.
  const double *first = rotations + 1, *along = first + 3, *third = first + 6;
  T* to = vectors + 3 * static_cast<int64_t>(block.edges[k]);
  for (int x = 0; x < 3; ++x)
    to[x] = static_cast<T>((by_turn[1] * first[x] - by_turn[0] * third[x]) / block.lengths[k] +
                           by_length * along[x]);
}

template struct KeptEdges<float>;
template struct KeptEdges<double>;
template class Edges<float>;
template class Edges<double>;

}  // namespace distmlip::native::so2
