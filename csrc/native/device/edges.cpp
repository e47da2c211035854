#include "native/device/edges.h"

#include <ATen/ATen.h>

#include "native/device/inputs.h"

namespace distmlip::native {

DeviceIndex::DeviceIndex(const char* name, int64_t of, const at::Tensor& tensor) : n(of), index(tensor) {
  if (n < 0) invalid("a table of ", n, " rows");
  check_indices(name, index, n);
  const auto [sorted, order] = index.sort(std::optional<bool>(true), 0);
  begin = at::searchsorted(sorted, at::arange(n + 1, index.options()));
  rows = order.to(at::kInt);
}

DeviceEdges::DeviceEdges(int64_t rows, int64_t local, const at::Tensor& senders, const at::Tensor& receivers)
    : n_rows(rows),
      n_local(local),
      by_sender("senders", n_local, senders),
      by_receiver("receivers", n_rows, receivers),
      numbers(at::arange(senders.numel(), senders.options().dtype(at::kInt))) {
  if (n_rows < 0 || n_rows > n_local) invalid(n_rows, " of ", n_local, " rows receive");
  check("receivers", receivers, senders.sizes(), senders);
  if (!receivers.diff().ge(0).all().item<bool>()) invalid("receivers must ascend");
}

kernels::SentEdges DeviceEdges::sent() const {
  return {n_local, by_sender.begin.const_data_ptr<int64_t>(), by_sender.rows.const_data_ptr<int32_t>(),
          numbers.const_data_ptr<int32_t>(), nullptr};
}

}  // namespace distmlip::native
