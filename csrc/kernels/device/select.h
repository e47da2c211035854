// Which elements of a list have a property.
#pragma once

#include "kernels/device/parallel.h"
#include "kernels/device/read_numbers.h"

namespace distmlip::kernels {

/// All k in [0, n) for which holds(k), ascending.
template <class Backend, class Holds>
Array<int32_t> select(const Backend& backend, int64_t n, Holds holds) {
  const auto chosen_array = backend.template array<int32_t>(n);
  const auto place_array = backend.template array<int64_t>(n + 1);
  int32_t* chosen = chosen_array.data();
  int64_t* place = place_array.data();
  backend.for_each(n, [=] DISTMLIP_DEVICE(int64_t k) { chosen[k] = holds(k); });
  const auto result_array = backend.template array<int32_t>(scan(backend, chosen, n, place));
  int32_t* result = result_array.data();
  backend.for_each(n, [=] DISTMLIP_DEVICE(int64_t k) {
    if (chosen[k]) result[place[k]] = static_cast<int32_t>(k);
  });
  return result_array;
}

}  // namespace distmlip::kernels
