// Which edges a row sends.
#pragma once

#include "kernels/device/sort_atoms.h"
#include "kernels/device/step.h"

namespace distmlip::kernels {

/// Candidates by sender, those of a sender ascending.
template <class Backend>
SenderRows sort_by_sender(const Backend& backend, const int32_t* senders, int64_t n_candidates,
                          int64_t n_local) {
  SenderRows out;
  auto keys = backend.template array<uint32_t>(n_candidates);
  out.candidate = backend.template array<int32_t>(n_candidates);
  uint32_t* key = keys.data();
  int32_t* candidates = out.candidate.data();
  backend.for_each(n_candidates, [=] DISTMLIP_DEVICE(int64_t k) {
    key[k] = static_cast<uint32_t>(senders[k]);
    candidates[k] = static_cast<int32_t>(k);
  });
  backend.sort(keys, out.candidate, static_cast<uint32_t>(n_local));
  out.row_begin = backend.template array<int64_t>(n_local + 1);
  int64_t* row_begin = out.row_begin.data();
  key = keys.data();
  backend.for_each(n_local + 1, [=] DISTMLIP_DEVICE(int64_t row) {
    row_begin[row] = count_below(key, n_candidates, static_cast<uint32_t>(row));
  });
  return out;
}

}  // namespace distmlip::kernels
