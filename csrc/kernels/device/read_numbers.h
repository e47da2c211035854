// Sizes that the host needs, all read at once: every time it waits for a device costs tens of microseconds.
#pragma once

#include <vector>

#include "kernels/device/parallel.h"

namespace distmlip::kernels {

template <int n>
struct NumberPlaces {
  const int64_t* of[n];
};

/// The numbers at `places`, then list[at[k]] for k below n_more.
template <class Backend, int n>
std::vector<int64_t> read_numbers(const Backend& backend, const NumberPlaces<n>& places, int64_t n_more = 0,
                                  const int64_t* list = nullptr, const int32_t* at = nullptr) {
  const auto numbers = backend.template array<int64_t>(n + n_more);
  int64_t* to = numbers.data();
  backend.for_each(n + n_more,
                   [=] DISTMLIP_DEVICE(int64_t k) { to[k] = k < n ? *places.of[k] : list[at[k - n]]; });
  std::vector<int64_t> result(static_cast<size_t>(n + n_more));
  backend.read(numbers.data(), n + n_more, result.data());
  return result;
}

/// backend.sum_before(); waits for begin[n], which it returns.
template <class Backend>
int64_t scan(const Backend& backend, const int32_t* counts, int64_t n, int64_t* begin) {
  backend.sum_before(counts, n, begin);
  int64_t total = 0;
  backend.read(begin + n, 1, &total);
  return total;
}

}  // namespace distmlip::kernels
