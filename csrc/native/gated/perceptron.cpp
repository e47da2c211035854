#include "native/gated/perceptron.h"

namespace distmlip::native::gated {

void require(const Matrix& matrix, int rows, int columns, const char* name) {
  if (matrix.rows != rows || matrix.columns != columns)
    invalid("'", name, "' is (", matrix.rows, ", ", matrix.columns, "); it must be (", rows, ", ", columns,
            ")");
}

OwnMatrix product(const Matrix& a, const Matrix& b) {
  if (a.columns != b.rows)
    invalid("a product of matrices with ", a.columns, " columns and ", b.rows, " rows");
  OwnMatrix c{std::vector<double>(static_cast<size_t>(a.rows) * static_cast<size_t>(b.columns)), a.rows,
              b.columns};
  for (int i = 0; i < a.rows; ++i)
    for (int k = 0; k < a.columns; ++k)
      for (int j = 0; j < b.columns; ++j)
        c.values[static_cast<size_t>(i * b.columns + j)] +=
            a.values[i * a.columns + k] * b.values[k * b.columns + j];
  return c;
}

OwnMatrix side_by_side(const Matrix& a, const Matrix& b) {
  if (a.rows != b.rows) invalid("matrices with ", a.rows, " and ", b.rows, " rows side by side");
  OwnMatrix both{{}, a.rows, a.columns + b.columns};
  for (int row = 0; row < a.rows; ++row) {
    both.values.insert(both.values.end(), a.values + row * a.columns, a.values + (row + 1) * a.columns);
    both.values.insert(both.values.end(), b.values + row * b.columns, b.values + (row + 1) * b.columns);
  }
  return both;
}

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
