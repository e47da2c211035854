// Products of rows that stand one after another with a matrix.
#pragma once

#include <algorithm>
#include <array>
#include <vector>

#include "core/error.h"
#include "core/thread_pool.h"
#include "native/matrix.h"

namespace distmlip::native::gated {

/// Bonds, or pairs of them, that go through products together.
constexpr int items_per_block = 24;
/// Both directions of each.
constexpr int rows_per_block = 2 * items_per_block;
/// A matrix is read once for so many.
constexpr int rows_per_multiplication = 96;

/// Rows of a table.
template <class T>
struct Rows {
  T* data;
  std::ptrdiff_t stride;
  T* at(std::ptrdiff_t row) const { return data + row * stride; }
};

/// y = x · matrix + bias.
template <class T>
class Projection {
 public:
  Projection() = default;
  /// Throws std::invalid_argument if columns are no multiple of the padding or the bias does not fit.
  Projection(const Operators<T>& operators, const Matrix& matrix, const std::vector<double>& bias = {})
      : operators_(&operators),
        packed_(operators, matrix),
        transposed_(PackedMatrix<T>::transposed(operators, matrix)),
        bias_(bias.begin(), bias.end()) {
    if (matrix.columns % kernels::irreps::padding != 0 || matrix.rows % kernels::irreps::padding != 0)
      invalid("a matrix (", matrix.rows, ", ", matrix.columns, "): both must be multiples of ",
              kernels::irreps::padding);
    if (!bias.empty() && std::ssize(bias) != matrix.columns)
      invalid(bias.size(), " biases of ", matrix.columns, " columns");
  }

  int inputs() const { return packed_.rows(); }
  int outputs() const { return packed_.columns(); }

  /// Of n rows; `adds`: y += x · matrix, without the bias.
  void apply(int64_t n, Rows<const T> x, Rows<T> y, bool adds = false) const {
    if (!adds && !bias_.empty())
      for (int64_t row = 0; row < n; ++row) std::copy(bias_.begin(), bias_.end(), y.at(row));
    multiply(packed_, n, x, y, adds || !bias_.empty());
  }
  /// x (+)= y · matrixᵀ
  void back(int64_t n, Rows<const T> y, Rows<T> x, bool adds) const { multiply(transposed_, n, y, x, adds); }

  /// A new table.
  Buffer<T> of(int64_t n, Rows<const T> x, int n_threads) const {
    Buffer<T> y(static_cast<size_t>(n * outputs() + slack));
    in_stretches(n, n_threads, [&](int64_t first, int64_t count) {
      apply(count, {x.at(first), x.stride}, {y.data() + first * outputs(), outputs()});
    });
    return y;
  }
  void back_of(int64_t n, const Buffer<T>& y, T* x, int n_threads) const {
    in_stretches(n, n_threads, [&](int64_t first, int64_t count) {
      back(count, {y.data() + first * outputs(), outputs()}, {x + first * inputs(), inputs()}, true);
    });
  }

  template <class F>
  static void in_stretches(int64_t n, int n_threads, F work) {
    constexpr int64_t per = 32 * rows_per_block;
    parallel_for((n + per - 1) / per, n_threads,
                 [&](int64_t k, int) { work(k * per, std::min(per, n - k * per)); });
  }

 private:
  void multiply(const PackedMatrix<T>& matrix, int64_t n, Rows<const T> from, Rows<T> to, bool adds) const {
    std::array<const T*, rows_per_multiplication> a;
    std::array<T*, rows_per_multiplication> c;
    for (int64_t first = 0; first < n; first += rows_per_multiplication) {
      const auto count = static_cast<size_t>(std::min<int64_t>(rows_per_multiplication, n - first));
      for (size_t k = 0; k < count; ++k) {
        a[k] = from.at(first + static_cast<int64_t>(k));
        c[k] = to.at(first + static_cast<int64_t>(k));
      }
      matrix.multiply(*operators_, {a.data(), count}, c.data(), adds);
    }
  }

  const Operators<T>* operators_ = nullptr;
  PackedMatrix<T> packed_, transposed_;
  std::vector<T> bias_;
};

}  // namespace distmlip::native::gated
