#include <cmath>
#include <utility>

#include "core/error.h"
#include "native/node_operators.h"

namespace distmlip::native {
namespace {

using kernels::irreps::TensorFunction;
using kernels::irreps::TensorFunction2;

/// Padded channels of a register of tensors. Throws std::invalid_argument if it has something else.
int channels_of(const Register& of) {
  const auto& segments = of.layout.segments();
  bool fits = segments.size() == 3;
  for (size_t l = 0; l < segments.size() && fits; ++l)
    fits = segments[l].degree == static_cast<int>(l) && segments[l].channels == segments[0].channels;
  if (!fits) invalid("tensors are scalars, vectors and a degree 2 with as many channels each");
  return segments[0].padded;
}

template <class T>
class OfTensors : public NodeOperator<T> {
 public:
  OfTensors(const TensorFunction<T>& function, const std::vector<Register>& registers, int from, int to)
      : function_(function),
        channels_(channels_of(registers.at(static_cast<size_t>(from)))),
        size_(registers.at(static_cast<size_t>(from)).layout.size()) {
    this->reads = {{from}};
    this->writes = to;
  }

  void forward(Block<T>& block) const override {
    for (int atom = 0; atom < block.n; ++atom)
      function_.forward(channels_, block.value(this->reads[0].of, atom), block.value(this->writes, atom));
  }

  void backward(Block<T>& block) const override {
    const auto& read = this->reads[0];
    for (int atom = 0; atom < block.n; ++atom) {
      T* back = block.gradient(read.of, atom);
      if (!read.accumulate) std::fill_n(back, size_, T(0));
      function_.backward(channels_, block.value(read.of, atom), block.gradient(this->writes, atom), back);
    }
  }

 private:
  const TensorFunction<T> function_;
  const int channels_;
  const int64_t size_;
};

template <class T>
class OfTwoTensors : public NodeOperator<T> {
 public:
  OfTwoTensors(const TensorFunction2<T>& function, const std::vector<Register>& registers, int first,
               int second, int to)
      : function_(function),
        channels_(channels_of(registers.at(static_cast<size_t>(first)))),
        size_(registers.at(static_cast<size_t>(first)).layout.size()) {
    this->reads = {{first}, {second}};
    this->writes = to;
    if (first == second || channels_of(registers.at(static_cast<size_t>(second))) != channels_)
      invalid("a function of two tensors whose registers do not fit");
  }

  void forward(Block<T>& block) const override {
    for (int atom = 0; atom < block.n; ++atom)
      function_.forward(channels_, block.value(this->reads[0].of, atom), block.value(this->reads[1].of, atom),
                        block.value(this->writes, atom));
  }

  void backward(Block<T>& block) const override {
    for (int atom = 0; atom < block.n; ++atom) {
      for (const auto& read : this->reads)
        if (!read.accumulate) std::fill_n(block.gradient(read.of, atom), size_, T(0));
      function_.backward(channels_, block.value(this->reads[0].of, atom),
                         block.value(this->reads[1].of, atom), block.gradient(this->writes, atom),
                         block.gradient(this->reads[0].of, atom), block.gradient(this->reads[1].of, atom));
    }
  }

 private:
  const TensorFunction2<T> function_;
  const int channels_;
  const int64_t size_;
};

template <class T>
class LayerNorm : public NodeOperator<T> {
 public:
  LayerNorm(const std::vector<Register>& registers, int from, int to, const std::vector<double>& scales,
            const std::vector<double>& shifts, double epsilon)
      : layout_(registers.at(static_cast<size_t>(from)).layout),
        n_(static_cast<double>(layout_.width())),
        epsilon_(epsilon) {
    this->reads = {{from}};
    this->writes = to;
    for (const Segment& segment : layout_.segments())
      if (segment.degree != 0)
        invalid("a norm of layers of degree ", segment.degree, "; they must be scalars");
    const auto width = static_cast<size_t>(layout_.width());
    if (scales.size() != width || shifts.size() != width)
      invalid(scales.size(), " scales and ", shifts.size(), " shifts of ", width, " numbers");
    scales_.resize(static_cast<size_t>(layout_.size()));
    shifts_.resize(scales_.size());
    layout_.read(scales.data(), scales_.data());
    layout_.read(shifts.data(), shifts_.data());
  }

  void forward(Block<T>& block) const override {
    for (int atom = 0; atom < block.n; ++atom) {
      const T* x = block.value(this->reads[0].of, atom);
      T* out = block.value(this->writes, atom);
      const auto [mean, scale] = moments(x);
      for (size_t k = 0; k < scales_.size(); ++k) out[k] = (x[k] - mean) * scale * scales_[k] + shifts_[k];
    }
  }

  void backward(Block<T>& block) const override {
    const auto& read = this->reads[0];
    for (int atom = 0; atom < block.n; ++atom) {
      const T *x = block.value(read.of, atom), *g = block.gradient(this->writes, atom);
      T* back = block.gradient(read.of, atom);
      if (!read.accumulate) std::fill_n(back, layout_.size(), T(0));
      const auto [mean, scale] = moments(x);
      double sum = 0, along = 0;  // padding has no scale
      for (size_t k = 0; k < scales_.size(); ++k) {
        const T through = g[k] * scales_[k];
        sum += static_cast<double>(through);
        along += static_cast<double>(through * (x[k] - mean) * scale);
      }
      const T of_mean = static_cast<T>(sum / n_), of_scale = static_cast<T>(along / n_);
      for (const Segment& segment : layout_.segments()) {
        const auto end = static_cast<size_t>(segment.offset + segment.channels);
        for (auto k = static_cast<size_t>(segment.offset); k < end; ++k)
          back[k] += scale * (g[k] * scales_[k] - of_mean - (x[k] - mean) * scale * of_scale);
      }
    }
  }

 private:
  /// Mean, and one over the root of the variance plus epsilon.
  std::pair<T, T> moments(const T* x) const {
    double sum = 0, squares = 0;
    for (const Segment& segment : layout_.segments())
      for (int c = 0; c < segment.channels; ++c) sum += static_cast<double>(x[segment.offset + c]);
    const double mean = sum / n_;
    for (const Segment& segment : layout_.segments()) {
      for (int c = 0; c < segment.channels; ++c) {
        const double away = static_cast<double>(x[segment.offset + c]) - mean;
        squares += away * away;
      }
    }
    return {static_cast<T>(mean), static_cast<T>(1 / std::sqrt(squares / n_ + epsilon_))};
  }

  const Layout layout_;
  const double n_, epsilon_;
  std::vector<T> scales_, shifts_;
};

}  // namespace

template <class T>
std::unique_ptr<NodeOperator<T>> of_tensors(const TensorFunction<T>& function,
                                            const std::vector<Register>& registers, int from, int to) {
  return std::make_unique<OfTensors<T>>(function, registers, from, to);
}
template <class T>
std::unique_ptr<NodeOperator<T>> of_tensors(const TensorFunction2<T>& function,
                                            const std::vector<Register>& registers, int first, int second,
                                            int to) {
  return std::make_unique<OfTwoTensors<T>>(function, registers, first, second, to);
}
template <class T>
std::unique_ptr<NodeOperator<T>> layer_norm(const std::vector<Register>& registers, int from, int to,
                                            const std::vector<double>& scales,
                                            const std::vector<double>& shifts, double epsilon) {
  return std::make_unique<LayerNorm<T>>(registers, from, to, scales, shifts, epsilon);
}

template std::unique_ptr<NodeOperator<float>> of_tensors(const TensorFunction<float>&,
                                                         const std::vector<Register>&, int, int);
template std::unique_ptr<NodeOperator<double>> of_tensors(const TensorFunction<double>&,
                                                          const std::vector<Register>&, int, int);
template std::unique_ptr<NodeOperator<float>> of_tensors(const TensorFunction2<float>&,
                                                         const std::vector<Register>&, int, int, int);
template std::unique_ptr<NodeOperator<double>> of_tensors(const TensorFunction2<double>&,
                                                          const std::vector<Register>&, int, int, int);
template std::unique_ptr<NodeOperator<float>> layer_norm(const std::vector<Register>&, int, int,
                                                         const std::vector<double>&,
                                                         const std::vector<double>&, double);
template std::unique_ptr<NodeOperator<double>> layer_norm(const std::vector<Register>&, int, int,
                                                          const std::vector<double>&,
                                                          const std::vector<double>&, double);

}  // namespace distmlip::native
