#include "native/so2/layers.h"

#include "native/gated/matrices.h"

namespace distmlip::native::so2 {

using gated::Rows;

template <class T>
Layers<T>::Layers(const Operators<T>& operators, const LayerShape& of, const LayerParameters& parameters)
    : shape(of),
      first_of_zero(operators, parameters.first, parameters.first_bias),
      second_bias(parameters.second_bias.begin(), parameters.second_bias.end()) {
  const auto projection = [&](const Matrix& matrix, int rows, int columns, const char* name) {
    gated::require(matrix, rows, columns, name);
    return Projection<T>(operators, matrix);
  };
  const auto orders = static_cast<size_t>(shape.mmax), degrees = static_cast<size_t>(shape.lmax) + 1;
  if (parameters.first_orders.size() != orders || parameters.second_real.size() != orders ||
      parameters.second_imaginary.size() != orders || parameters.second.size() != degrees)
    invalid("layers of ", parameters.first_orders.size(), " orders and ", parameters.second.size(),
            " degrees; there must be ", orders, " and ", degrees);
  gated::require(parameters.first, shape.from_atoms(0), shape.n_gates() + shape.to_hidden(0), "first");
  for (size_t k = 0; k < orders; ++k) {
    const int m = static_cast<int>(k) + 1, from = shape.from_atoms(m), to = shape.to_hidden(m);
    const OrderParameters& order = parameters.first_orders[k];
    first_orders.push_back({projection(order.real, from, to, "real"),
                            projection(order.difference, from, to, "difference"),
                            projection(order.minus_sum, from, to, "minus_sum")});
    second_real.emplace_back();
    second_imaginary.emplace_back();
    if (std::ssize(parameters.second_real[k]) != shape.n_degrees(m) ||
        std::ssize(parameters.second_imaginary[k]) != shape.n_degrees(m))
      invalid("second layers of order ", m, " for ", parameters.second_real[k].size(), " degrees");
    for (const Matrix& matrix : parameters.second_real[k])
      second_real[k].push_back(projection(matrix, to, shape.channels, "second_real"));
    for (const Matrix& matrix : parameters.second_imaginary[k])
      second_imaginary[k].push_back(projection(matrix, to, shape.channels, "second_imaginary"));
  }
  for (const Matrix& matrix : parameters.second)
    second.push_back(projection(matrix, shape.to_hidden(0), shape.channels, "second"));
  if (second_bias.size() != degrees * static_cast<size_t>(shape.channels))
    invalid(second_bias.size(), " biases of ", degrees, " degrees");
}

/// r = R (r + i) - (R + I) i and i = R (r + i) + (I - R) r, of R r - I i and I r + R i.
template <class T>
void Layers<T>::first(int n, T* const* from, T* to) const {
  const int stride = shape.hidden_size();
  first_of_zero.apply(n, {from[0], shape.from_atoms(0)}, {to, stride});
  for (int m = 1; m <= shape.mmax; ++m) {
    const auto& [real, difference, minus_sum] = first_orders[static_cast<size_t>(m) - 1];
    const int width = shape.from_atoms(m), of_part = shape.to_hidden(m);
    const Rows<T> real_to{to + shape.n_gates() + shape.hidden_offset(m), stride},
        imaginary_to{real_to.data + of_part, stride};
    real.apply(n, {from[3 * m - 2], width}, real_to);
    for (int e = 0; e < n; ++e) std::copy_n(real_to.at(e), of_part, imaginary_to.at(e));
    minus_sum.apply(n, {from[3 * m], width}, real_to, true);
    difference.apply(n, {from[3 * m - 1], width}, imaginary_to, true);
  }
}

template <class T>
void Layers<T>::first_back(int n, T* const* gradients, T* const* to) const {
  first_of_zero.back(n, {gradients[0], shape.n_gates() + shape.to_hidden(0)}, {to[0], shape.from_atoms(0)},
                     false);
  for (int m = 1; m <= shape.mmax; ++m) {
    const auto& [real, difference, minus_sum] = first_orders[static_cast<size_t>(m) - 1];
    const int width = shape.from_atoms(m), of_part = shape.to_hidden(m);
    const Rows<T> real_to{to[2 * m - 1], width}, imaginary_to{to[2 * m], width};
    real.back(n, {gradients[3 * m - 2], of_part}, real_to, false);
    std::copy_n(real_to.data, n * width, imaginary_to.data);
    difference.back(n, {gradients[3 * m], of_part}, real_to, true);
    minus_sum.back(n, {gradients[3 * m - 1], of_part}, imaginary_to, true);
  }
}

template struct Layers<float>;
template struct Layers<double>;

}  // namespace distmlip::native::so2
