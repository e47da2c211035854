#include "native/gated/perceptron.h"

#include "core/error.h"

namespace distmlip::native::gated {

template <class T>
Perceptron<T>::Perceptron(const Operators<T>& operators, const PerceptronParameters& parameters, int channels,
                          int sums)
    : operators_(operators),
      channels_(channels),
      sums_(sums),
      bias_(parameters.bias.begin(), parameters.bias.end()),
      scales_(parameters.scales.begin(), parameters.scales.end()),
      shifts_(parameters.shifts.begin(), parameters.shifts.end()),
      gate_{channels, nullptr, nullptr, static_cast<T>(parameters.epsilon)} {
  const auto both = static_cast<size_t>(2 * channels);
  const size_t n_hidden = parameters.hidden.size();
  if (n_hidden != 0 && n_hidden != 2) invalid(n_hidden, " hidden layers; there may be one of core and gate");
  if (n_hidden == 0 && sums != 2 * channels) invalid(sums, " sums of ", channels, " channels");
  for (const Matrix& layer : parameters.hidden) {
    if (2 * layer.rows != sums || layer.columns != channels)
      invalid("a hidden layer (", layer.rows, ", ", layer.columns, ") of ", sums, " sums");
    hidden_.emplace_back(operators, layer);
  }
  if (bias_.size() != (n_hidden == 0 ? 0 : both)) invalid(bias_.size(), " biases behind hidden layers");
  if (scales_.size() != shifts_.size() || (!scales_.empty() && scales_.size() != both))
    invalid(scales_.size(), " scales and ", shifts_.size(), " shifts of ", both, " channels");
  if (scales_.empty()) return;
  gate_.scales = scales_.data();
  gate_.shifts = shifts_.data();
}

template <class T>
typename Perceptron<T>::Memory Perceptron<T>::memory() const {
  const auto rows = [](int width) { return Buffer<T>(static_cast<size_t>(rows_per_block * width + slack)); };
  const int of_hidden = hidden_.empty() ? 0 : sums_;
  return {rows(of_hidden), rows(of_hidden),     rows(2 * channels_),
          rows(channels_), rows(2 * channels_), rows(2 + kernels::irreps::padding)};
}

template <class T>
void Perceptron<T>::forward(int n, int n_sources, const T* const* sources, Memory& memory, bool keep) const {
  T* x = memory.x.data();
  if (hidden_.empty()) {
    operators_.gated.sum_rows(n, sums_, n_sources, sources, x);
  } else {
    operators_.gated.silu_of_sums(n, sums_, n_sources, sources, memory.hidden.data(),
                                  keep ? memory.hidden_slopes.data() : nullptr);
    for (int row = 0; row < n; ++row) std::copy(bias_.begin(), bias_.end(), x + row * 2 * channels_);
    for (int half = 0; half < 2; ++half)
      hidden_[static_cast<size_t>(half)].apply(n, {memory.hidden.data() + half * (sums_ / 2), sums_},
                                               {x + half * channels_, 2 * channels_}, true);
  }
  operators_.gated.gated(gate_, n, x, memory.out.data(), keep ? memory.slopes.data() : nullptr,
                         memory.roots.data());
}

template <class T>
const T* Perceptron<T>::backward(int n, const T* gradients, int n_targets, T* const* targets,
                                 Memory& memory) const {
  T* x = memory.x.data();
  operators_.gated.gated_back(gate_, n, gradients, memory.slopes.data(), memory.roots.data(), x);
  if (hidden_.empty()) {
    operators_.gated.add_to_rows(n, sums_, x, nullptr, n_targets, targets);
    return x;
  }
  T* hidden = memory.hidden.data();
  for (int half = 0; half < 2; ++half)
    hidden_[static_cast<size_t>(half)].back(n, {x + half * channels_, 2 * channels_},
                                            {hidden + half * (sums_ / 2), sums_}, false);
  operators_.gated.add_to_rows(n, sums_, hidden, memory.hidden_slopes.data(), n_targets, targets);
  return hidden;
}

template class Perceptron<float>;
template class Perceptron<double>;

}  // namespace distmlip::native::gated
