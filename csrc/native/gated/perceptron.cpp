#include "native/gated/perceptron.h"

#include "core/error.h"

namespace distmlip::native::gated {

template <class T>
Perceptron<T>::Perceptron(const Operators<T>& operators, const PerceptronParameters& parameters, int channels,
                          int sums)
    : operators_(operators),
      channels_(channels),
      sums_(sums),
      scales_(parameters.scales.begin(), parameters.scales.end()),
      shifts_(parameters.shifts.begin(), parameters.shifts.end()),
      gate_{channels, nullptr, nullptr, static_cast<T>(parameters.epsilon)} {
  if (parameters.hidden.size() % 2 != 0)
    invalid(parameters.hidden.size(), " hidden layers; there must be as many of core and gate");
  int width = sums;
  auto bias = parameters.bias.begin();
  for (size_t k = 0; k < parameters.hidden.size(); k += 2) {
    const Matrix &core = parameters.hidden[k], &gate = parameters.hidden[k + 1];
    for (const Matrix& half : {core, gate})
      if (2 * half.rows != width || half.columns != core.columns)
        invalid("a hidden layer (", half.rows, ", ", half.columns, ") of ", width, " sums");
    width = 2 * core.columns;
    if (parameters.bias.end() - bias < width) invalid(parameters.bias.size(), " biases behind hidden layers");
    hidden_.push_back({{operators, core}, {operators, gate}, {bias, bias + width}});
    bias += width;
  }
  if (bias != parameters.bias.end()) invalid(parameters.bias.size(), " biases behind hidden layers");
  const auto both = static_cast<size_t>(2 * channels);
  if (width != 2 * channels) invalid(width, " sums of ", channels, " channels");
  if (scales_.size() != shifts_.size() || (!scales_.empty() && scales_.size() != both))
    invalid(scales_.size(), " scales and ", shifts_.size(), " shifts of ", both, " channels");
  if (!is_normalised()) return;
  gate_.scales = scales_.data();
  gate_.shifts = shifts_.data();
}

template <class T>
typename Perceptron<T>::Memory Perceptron<T>::memory() const {
  const auto rows = [](int width) { return Buffer<T>(static_cast<size_t>(rows_per_block * width + slack)); };
  Memory memory;
  for (const Layer& layer : hidden_) {
    memory.hidden.push_back(rows(layer.inputs()));
    memory.hidden_slopes.push_back(rows(layer.inputs()));
  }
  memory.x = rows(2 * channels_);
  memory.out = rows(channels_);
  memory.slopes = rows(2 * channels_);
  memory.roots = rows(2 + kernels::irreps::padding);
  return memory;
}

template <class T>
void Perceptron<T>::Layer::apply(int n, const T* x, T* y) const {
  const int width = outputs();
  for (int row = 0; row < n; ++row) std::copy(bias.begin(), bias.end(), y + row * width);
  core.apply(n, {x, inputs()}, {y, width}, true);
  gate.apply(n, {x + inputs() / 2, inputs()}, {y + width / 2, width}, true);
}

template <class T>
void Perceptron<T>::Layer::back(int n, const T* y, T* x) const {
  const int width = outputs();
  core.back(n, {y, width}, {x, inputs()}, false);
  gate.back(n, {y + width / 2, width}, {x + inputs() / 2, inputs()}, false);
}

template <class T>
int64_t Perceptron<T>::slopes_at(size_t k) const {
  int64_t at = 0;
  for (size_t layer = 0; layer < k; ++layer) at += hidden_[layer].inputs();
  return at;
}

template <class T>
int64_t Perceptron<T>::kept_per_row() const {
  return slopes_at(hidden_.size()) + 2 * channels_ + n_copied();
}

template <class T>
void Perceptron<T>::forward(int n, int n_sources, const T* const* sources, Memory& memory, bool keep,
                            T* elsewhere) const {
  const auto slopes_of = [&](size_t k, Buffer<T>& own) {
    return elsewhere != nullptr ? elsewhere + n * slopes_at(k) : own.data();
  };
  T* x = memory.x.data();
  if (hidden_.empty()) {
    operators_.gated.sum_rows(n, sums_, n_sources, sources, x);
  } else {
    operators_.gated.silu_of_sums(n, sums_, n_sources, sources, memory.hidden.front().data(),
                                  keep ? slopes_of(0, memory.hidden_slopes.front()) : nullptr);
    for (size_t k = 0; k < hidden_.size(); ++k) {
      const bool is_last = k + 1 == hidden_.size();
      T* behind = is_last ? x : memory.hidden[k + 1].data();
      hidden_[k].apply(n, memory.hidden[k].data(), behind);
      if (!is_last)
        operators_.silu(n * hidden_[k].outputs(), behind, T(1), behind,
                        slopes_of(k + 1, memory.hidden_slopes[k + 1]));
    }
  }
  operators_.gated.gated(gate_, n, x, memory.out.data(),
                         keep ? slopes_of(hidden_.size(), memory.slopes) : nullptr, memory.roots.data());
  if (elsewhere == nullptr) return;
  T* to = elsewhere + n * (kept_per_row() - n_copied());
  to = std::copy_n(memory.out.data(), n * channels_, to);
  if (!is_normalised()) return;
  to = std::copy_n(x, 2 * n * channels_, to);
  std::copy_n(memory.roots.data(), 2 * n, to);
}

template <class T>
void Perceptron<T>::restore(int n, const T* elsewhere, Memory& memory) const {
  const T* from = elsewhere + n * (kept_per_row() - n_copied());
  std::copy_n(from, n * channels_, memory.out.data());
  if (!is_normalised()) return;
  from += n * channels_;
  std::copy_n(from, 2 * n * channels_, memory.x.data());
  std::copy_n(from + 2 * n * channels_, 2 * n, memory.roots.data());
}

template <class T>
const T* Perceptron<T>::backward(int n, const T* gradients, int n_targets, T* const* targets, Memory& memory,
                                 const T* elsewhere) const {
  const auto slopes_of = [&](size_t k, const Buffer<T>& own) {
    return elsewhere != nullptr ? elsewhere + n * slopes_at(k) : own.data();
  };
  T* x = memory.x.data();
  operators_.gated.gated_back(gate_, n, gradients, slopes_of(hidden_.size(), memory.slopes),
                              memory.roots.data(), x);
  const T* slopes = nullptr;
  for (size_t k = hidden_.size(); k-- > 0;) {
    T* before = memory.hidden[k].data();
    hidden_[k].back(n, x, before);
    x = before;
    slopes = slopes_of(k, memory.hidden_slopes[k]);
    if (k > 0) operators_.gated.add_to_rows(n, hidden_[k].inputs(), x, slopes, 0, targets);
  }
  operators_.gated.add_to_rows(n, sums_, x, slopes, n_targets, targets);
  return x;
}

template class Perceptron<float>;
template class Perceptron<double>;

}  // namespace distmlip::native::gated
