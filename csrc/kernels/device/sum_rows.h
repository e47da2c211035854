// Weighed rows summed at targets, in the order in which they are listed: a thread has one column of one
// target.
#pragma once

#include "kernels/device/parallel.h"
#include "kernels/device_operators.h"

namespace distmlip::kernels {

/// The product of a row's weights in one column.
template <class Real>
DISTMLIP_DEVICE Real weight_of(const MessageWeights<Real>& weights, int64_t row, int64_t column,
                               int32_t width) {
  Real product = 1;
  for (int w = 0; w < weights.n; ++w) product *= weights.tables[w][weights.index[w][row] * width + column];
  return product;
}

template <class Backend, class Real>
void sum_rows(const Backend& backend, const SumOrder& order, int32_t width, const Real* rows,
              const MessageWeights<Real>& weights, Real* out) {
  backend.for_each(order.n_targets * width, [=] DISTMLIP_DEVICE(int64_t k) {
    const int64_t target = k / width, column = k % width;
    Real sum = 0;
    for (int64_t n = order.begin[target]; n < order.begin[target + 1]; ++n) {
      const int64_t row = order.order[n];
      sum += rows[row * width + column] * weight_of(weights, row, column, width);
    }
    out[k] = sum;
  });
}

}  // namespace distmlip::kernels
