#include <cmath>

#include "core/error.h"
#include "native/edge_operators.h"

namespace distmlip::native {
namespace {

template <class T>
class EdgeSum : public EdgeOperator<T> {
 public:
  explicit EdgeSum(const Radial<T>& radial) : radial_(radial), width_(radial.columns(0)) {}

  void forward(EdgeBlock<T>& edges, const EdgeRows<T>& rows, T* receivers, int64_t size) const override {
    T* weights = room(edges.weights, edges_per_block * width_);
    radial_.weights(edges, 0, {0, width_, 1}, rows.kept, weights, width_);
    for (const Receiver& receiver : edges.receivers) {
      T* sums = receivers + receiver.atom * size;
      for (int e = receiver.first; e < receiver.first + receiver.n; ++e)
        for (int c = 0; c < width_; ++c) sums[c] += weights[e * width_ + c];
    }
  }

  void backward(EdgeBlock<T>& edges, const EdgeRows<T>& rows, const T* gradients,
                int64_t size) const override {
    T* weights = room(edges.weights, 2 * edges_per_block * width_);
    radial_.weights(edges, 0, {0, width_, 2}, rows.kept, weights, width_);
    for (const Receiver& receiver : edges.receivers) {
      const T* gradient = gradients + receiver.atom * size;
      for (int e = receiver.first; e < receiver.first + receiver.n; ++e)
        for (int c = 0; c < width_; ++c)
          edges.length_gradients[static_cast<size_t>(e)] += gradient[c] * weights[(2 * e + 1) * width_ + c];
    }
  }

 private:
  const Radial<T>& radial_;
  const int width_;
};

template <class T>
class RepulsionSum : public EdgeOperator<T> {
 public:
  explicit RepulsionSum(const Repulsion& of) : repulsion_(of) {
    const size_t n = of.charges.size();
    if (of.lengths.size() != n || of.cutoffs.size() != n || of.weights.size() != of.exponents.size())
      invalid("a repulsion whose lists differ in length");
  }

  void forward(EdgeBlock<T>& edges, const EdgeRows<T>&, T* receivers, int64_t size) const override {
    for (const Receiver& receiver : edges.receivers) {
      double sum = 0;
      for (int e = receiver.first; e < receiver.first + receiver.n; ++e)
        sum += of_edge(edges, static_cast<size_t>(e)).value;
      receivers[receiver.atom * size] += static_cast<T>(sum);
    }
  }

  void backward(EdgeBlock<T>& edges, const EdgeRows<T>&, const T* gradients, int64_t size) const override {
    for (const Receiver& receiver : edges.receivers)
      for (auto e = static_cast<size_t>(receiver.first); e < static_cast<size_t>(receiver.first + receiver.n);
           ++e)
        edges.length_gradients[e] +=
            gradients[receiver.atom * size] * static_cast<T>(of_edge(edges, e).slope);
  }

 private:
  ValueAndSlope of_edge(const EdgeBlock<T>& edges, size_t e) const {
    const auto pair = static_cast<size_t>(edges.species_pairs[e]);
    const double length = static_cast<double>(edges.lengths[e]), cutoff = repulsion_.cutoffs[pair];
    if (length >= cutoff) return {0, 0};
    const double x = length / repulsion_.lengths[pair];
    ValueAndSlope screening{0, 0};
    for (size_t k = 0; k < repulsion_.weights.size(); ++k) {
      const double term = repulsion_.weights[k] * std::exp(-repulsion_.exponents[k] * x);
      screening.value += term;
      screening.slope -= repulsion_.exponents[k] * term;
    }
    const ValueAndSlope envelope = polynomial_envelope(length / cutoff, repulsion_.power);
    const double bare = repulsion_.charges[pair] / (2 * length);
    return {bare * screening.value * envelope.value,
            bare * (screening.slope / repulsion_.lengths[pair] * envelope.value +
                    screening.value * (envelope.slope / cutoff - envelope.value / length))};
  }

  const Repulsion repulsion_;
};

}  // namespace

template <class T>
std::unique_ptr<EdgeOperator<T>> edge_sum(const Radial<T>& radial) {
  return std::make_unique<EdgeSum<T>>(radial);
}
template <class T>
std::unique_ptr<EdgeOperator<T>> repulsion(const Repulsion& repulsion) {
  return std::make_unique<RepulsionSum<T>>(repulsion);
}

template std::unique_ptr<EdgeOperator<float>> edge_sum(const Radial<float>&);
template std::unique_ptr<EdgeOperator<double>> edge_sum(const Radial<double>&);
template std::unique_ptr<EdgeOperator<float>> repulsion<float>(const Repulsion&);
template std::unique_ptr<EdgeOperator<double>> repulsion<double>(const Repulsion&);

}  // namespace distmlip::native
