// Convolutions on devices, on torch's tensors.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <utility>
#include <vector>

#include "native/device/edges.h"

namespace distmlip::native {

/// A "uvu" convolution; rows are [2l+1][channels] for each irrep (degree, channels), without padding. Methods
/// throw std::invalid_argument for tensors of other shapes, types or devices.
class DeviceConvolution {
 public:
  using Irreps = std::vector<std::pair<int, int>>;
  struct Path {
    int from, to;       ///< irreps of senders and of the message
    int first_channel;  ///< of the message's
  };

  DeviceConvolution(const Irreps& senders, const Irreps& message, const std::vector<Path>& paths,
                    at::Device device);

  int64_t n_weights() const { return lists_.n_weights; }  ///< of an edge: the channels of all paths
  int64_t n_couplings() const {
    return lists_.n_couplings;
  }  ///< of an edge: (2l_in+1)(2l_out+1) of each path

  /// (n_rows, message) of rows (n_local, senders), weights (n_edges, n_weights), couplings (n_edges,
  /// n_couplings).
  at::Tensor forward(const DeviceEdges& edges, const at::Tensor& rows, const at::Tensor& weights,
                     const at::Tensor& couplings) const;

  /// Gradients of rows, weights and couplings from those of messages.
  std::array<at::Tensor, 3> backward(const DeviceEdges& edges, const at::Tensor& rows,
                                     const at::Tensor& weights, const at::Tensor& couplings,
                                     const at::Tensor& gradients) const;

 private:
  /// Of an irrep in a row.
  struct Place {
    int32_t first, size, channels;
  };

  static std::vector<Place> places(const char* name, const Irreps& irreps, int64_t& width);
  void add(const Path& path, const std::vector<Place>& from, const std::vector<Place>& to);
  void fill_lists(const std::vector<Place>& from, at::Device device);
  void check_inputs(const DeviceEdges& edges, const at::Tensor& rows, const at::Tensor& weights,
                    const at::Tensor& couplings) const;

  std::vector<kernels::PathOfDevice> paths_;
  std::array<at::Tensor, 4> memory_;  // of lists_
  kernels::PathsOfDevice lists_{};
};

}  // namespace distmlip::native
