// Tensors of the CPU over memory of a device, with which the CPU's kernels do the device's work.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <optional>
#include <utility>

#include "memory.h"

namespace ordered {

/// Whether a tensor is on one of our devices.
inline bool here(const at::Tensor& tensor) { return tensor.defined() && tensor.is_privateuseone(); }

/// For the time of one operator.
class Aliases {
 public:
  at::Tensor of(const at::Tensor& tensor);

  /// A view on the device, if `result` is one of what `of` returned.
  std::optional<at::Tensor> view(const at::Tensor& result) const;

 private:
  std::map<c10::StorageImpl*, std::pair<c10::Storage, c10::Storage>> storages_;
};

/// Records that `work` touches the bytes of a tensor.
void touch(const at::Tensor& tensor, const Access& work, bool write);

/// The operator, as the device has it.
const at::Tensor& resize_(const at::Tensor& self, c10::IntArrayRef sizes, std::optional<c10::MemoryFormat>);

}  // namespace ordered
