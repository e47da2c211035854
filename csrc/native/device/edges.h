// Edges of a partition on a device.
#pragma once

#include <ATen/core/Tensor.h>

#include "kernels/device_operators.h"

namespace distmlip::native {

/// Which row of a table each of some rows belongs to, and, for sums, the rows of each row of the table.
struct DeviceIndex {
  /// index: (n_rows) int64 below n. Throws std::invalid_argument if it is not.
  DeviceIndex(const char* name, int64_t n, const at::Tensor& index);

  int64_t n_rows() const { return index.numel(); }
  kernels::SumOrder order() const {
    return {n, begin.const_data_ptr<int64_t>(), rows.const_data_ptr<int32_t>()};
  }

  int64_t n;
  at::Tensor index, begin, rows;
};

/// By receiver, and who sends which.
struct DeviceEdges {
  /// senders and receivers: (n_edges) local rows, receivers below n_rows and ascending. Throws
  /// std::invalid_argument if they are not.
  DeviceEdges(int64_t n_rows, int64_t n_local, const at::Tensor& senders, const at::Tensor& receivers);

  int64_t n_edges() const { return numbers.numel(); }
  at::Device device() const { return numbers.device(); }
  const int64_t* senders() const { return by_sender.index.const_data_ptr<int64_t>(); }
  const int64_t* receivers() const { return by_receiver.index.const_data_ptr<int64_t>(); }
  const int64_t* row_begin() const { return by_receiver.begin.const_data_ptr<int64_t>(); }
  kernels::SentEdges sent() const;

  int64_t n_rows, n_local;
  DeviceIndex by_sender, by_receiver;
  at::Tensor numbers;  ///< of edges
};

}  // namespace distmlip::native
