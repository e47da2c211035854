// Operators run at once, by the CPU's kernels on the memory of the device; what they touch is recorded.
#include <ATen/ATen.h>
#include <c10/core/DeviceGuard.h>
#include <torch/library.h>

#include <optional>
#include <set>

#include "aliases.h"
#include "streams.h"

namespace ordered {
namespace {

using c10::IValue;

/// Operators of which the host waits for a result.
bool waits(const std::string& name) {
  static const std::set<std::string> names{
      "aten::_local_scalar_dense", "aten::nonzero",  "aten::masked_select",      "aten::_unique2",
      "aten::unique_dim",          "aten::bincount", "aten::unique_consecutive", "aten::equal",
      "aten::repeat_interleave"};
  return names.contains(name);
}

bool takes_host_indices(const std::string& name) {
  return name.starts_with("aten::index") || name.starts_with("aten::_index_put");
}

/// One call of an operator.
class Call {
 public:
  Call(const c10::OperatorHandle& op, torch::jit::Stack& stack)
      : op_(op), schema_(op.schema()), stack_(stack), begin_(stack.size() - schema_.arguments().size()) {}

  void run() {
    for (size_t k = 0; k < schema_.arguments().size(); ++k) replace(k, stack_[begin_ + k]);
    check_host_tensors();
    {
      const OwnWork own;
      op_.redispatchBoxed(c10::DispatchKeySet(c10::DispatchKey::CPU), &stack_);
    }
    const c10::DeviceGuard guard(device_.value_or(c10::Device(c10::kPrivateUse1)));
    for (const Argument& argument : arguments_) take_back(argument);
    bool is_view = false;
    std::vector<at::Tensor> made;
    const size_t results = stack_.size() - schema_.returns().size();
    for (size_t k = 0; k < schema_.returns().size(); ++k) give_back(k, stack_[results + k], is_view, made);
    if (!is_view) record(made);
  }

 private:
  struct Argument {
    at::Tensor original, alias;
    const c10::AliasInfo* info;
    bool write() const { return info != nullptr && info->isWrite(); }
  };

  at::Tensor alias(size_t k, const at::Tensor& tensor) {
    if (!tensor.defined()) return tensor;
    if (!here(tensor)) {
      host_has_rows_ |= tensor.dim() > 0;
      return tensor;
    }
    TORCH_CHECK(!device_ || *device_ == tensor.device(), op_.schema().name(),
                ": all tensors must be on the same device, but found ", *device_, " and ", tensor.device());
    device_ = tensor.device();
    arguments_.push_back({tensor, aliases_.of(tensor), schema_.arguments()[k].alias_info()});
    return arguments_.back().alias;
  }

  void replace(size_t k, IValue& value) {
    if (value.isTensor()) {
      value = alias(k, value.toTensor());
    } else if (value.isTensorList()) {
      c10::List<at::Tensor> list;
      for (const at::Tensor& tensor : value.toTensorVector()) list.push_back(alias(k, tensor));
      value = list;
    } else if (value.isOptionalTensorList()) {
      c10::List<std::optional<at::Tensor>> list;
      for (const auto& tensor : value.toOptionalTensorVector())
        list.push_back(tensor ? std::optional(alias(k, *tensor)) : std::nullopt);
      value = list;
    } else if (value.isDevice()) {
      if (!device_ && value.toDevice().type() == c10::kPrivateUse1)
        device_ = c10::DeviceGuard(value.toDevice()).current_device();
      value = c10::Device(c10::kCPU);
    }
  }

  void check_host_tensors() const {
    TORCH_CHECK(!host_has_rows_ || takes_host_indices(schema_.name()), schema_.name(),
                ": a tensor is on the CPU, another one on ",
                device_.value_or(c10::Device(c10::kPrivateUse1)));
  }

  /// An output that the kernel resized.
  void take_back(const Argument& argument) {
    if (!argument.write() || argument.alias.sizes() == argument.original.sizes()) return;
    resize_(argument.original, argument.alias.sizes(), std::nullopt);
    Aliases now;
    now.of(argument.original).copy_(argument.alias);
  }

  IValue result(const at::Tensor& tensor, bool& is_view, std::vector<at::Tensor>& made) {
    if (!tensor.defined()) return tensor;
    if (const auto view = aliases_.view(tensor)) {
      is_view = true;
      return *view;
    }
    if (!device_) return tensor;
    const at::Tensor copy =
        at::empty_strided(tensor.sizes(), tensor.strides(), tensor.scalar_type(), {}, device_, {});
    Aliases now;
    now.of(copy).copy_(tensor);
    made.push_back(copy);
    return copy;
  }

  void give_back(size_t k, IValue& value, bool& is_view, std::vector<at::Tensor>& made) {
    const c10::AliasInfo* info = schema_.returns()[k].alias_info();
    if (value.isTensor()) {
      if (info != nullptr && info->isWrite()) {
        for (const Argument& argument : arguments_)
          if (argument.write() && *argument.info == *info) value = argument.original;
      } else {
        value = result(value.toTensor(), is_view, made);
      }
    } else if (value.isTensorList()) {
      c10::List<at::Tensor> list;
      for (const at::Tensor& tensor : value.toTensorVector())
        list.push_back(result(tensor, is_view, made).toTensor());
      value = list;
    }
  }

  void record(const std::vector<at::Tensor>& made) {
    if (!device_) return;
    Order& order = Order::the();
    const std::lock_guard lock(order.mutex);
    const StreamKey stream = current_stream(device_->index());
    const Access work = order.launch(stream, schema_.name());
    for (const Argument& argument : arguments_) touch(argument.original, work, argument.write());
    for (const at::Tensor& tensor : made) touch(tensor, work, true);
    if (waits(schema_.name())) host_waits_for(order.clock_of(stream), schema_.name());
  }

  const c10::OperatorHandle& op_;
  const c10::FunctionSchema& schema_;
  torch::jit::Stack& stack_;
  const size_t begin_;
  Aliases aliases_;
  std::vector<Argument> arguments_;
  std::optional<c10::Device> device_;
  bool host_has_rows_ = false;
};

void fallback(const c10::OperatorHandle& op, torch::jit::Stack* stack) { Call(op, *stack).run(); }

TORCH_LIBRARY_IMPL(_, PrivateUse1, library) {
  library.fallback(torch::CppFunction::makeFromBoxedFunction<&fallback>());
}

}  // namespace
}  // namespace ordered
