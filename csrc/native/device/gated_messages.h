// Gated messages on devices, on torch's tensors.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <utility>
#include <vector>

#include "native/device/edges.h"

namespace distmlip::native {

/// Rows (edges or angles) on a device: who receives their messages, and which rows of tables they read for
/// sums and for weights.
struct DeviceMessages {
  using Index = std::pair<int64_t, at::Tensor>;  ///< rows of a table, and which of them each row reads

  /// Throws std::invalid_argument if numbers of rows differ, or for more tables than kernels know.
  DeviceMessages(const Index& receivers, const std::vector<Index>& sums, const std::vector<Index>& weights);

  int64_t n_rows() const { return receivers.n_rows(); }

  DeviceIndex receivers;
  std::vector<DeviceIndex> sums, weights;
};

/// silu(core) · sigmoid(gate) of sums of table rows [core | gate], times weights. Methods throw
/// std::invalid_argument for tensors of other shapes, types or devices.
class DeviceGate {
 public:
  /// Hidden layers that are linear in silu of sums: (2, hidden, channels), and the bias behind them,
  /// (2, channels).
  struct Hidden {
    at::Tensor layers, bias;
  };
  /// Both halves are divided by the root of their mean square and `epsilon`, scaled and shifted:
  /// (2, channels) each.
  struct Norm {
    at::Tensor scales, shifts;
    double epsilon;
  };
  DeviceGate(int64_t channels, const std::optional<Hidden>& hidden, const std::optional<Norm>& norm);

  /// Tables (n of each, 2 hidden) are summed, weights (n of each, channels); messages (receivers, channels).
  at::Tensor forward(const DeviceMessages& rows, const std::vector<at::Tensor>& tables,
                     const std::vector<at::Tensor>& weights) const;
  /// Gradients of tables and weights from those of messages.
  std::pair<std::vector<at::Tensor>, std::vector<at::Tensor>> backward(const DeviceMessages& rows,
                                                                       const std::vector<at::Tensor>& tables,
                                                                       const std::vector<at::Tensor>& weights,
                                                                       const at::Tensor& gradients) const;

 private:
  int64_t width() const { return 2 * (hidden_ ? hidden_->layers.size(1) : channels_); }  ///< of sums
  void check_inputs(const DeviceMessages& rows, const std::vector<at::Tensor>& tables,
                    const std::vector<at::Tensor>& weights) const;
  template <class Real>
  kernels::GatedRows<Real> gated(const DeviceMessages& rows, const std::vector<at::Tensor>& tables) const;

  int64_t channels_;
  std::optional<Hidden> hidden_;
  at::Tensor transposed_;  ///< hidden layers
  std::optional<Norm> norm_;
};

}  // namespace distmlip::native
