#include <ATen/ATen.h>
#include <ATen/record_function.h>

#include "aliases.h"
#include "streams.h"

namespace ordered {
namespace {

using c10::IValue;

/// Looks at operators before they run: is the device current; does the host touch page-locked memory that a
/// copy is still using.
std::unique_ptr<at::ObserverContext> look(const at::RecordFunction& function) {
  if (OwnWork::depth > 0) return nullptr;
  Order& order = Order::the();
  std::vector<at::Tensor> pinned;
  for (const IValue& value : function.inputs()) {
    if (value.isDevice() && value.toDevice().type() == c10::kPrivateUse1) return nullptr;
    if (!value.isTensor() || !value.toTensor().defined()) continue;
    const at::Tensor tensor = value.toTensor();
    if (here(tensor)) {
      if (order.check_device && tensor.device().index() != current_device()) {
        order.report({"device", function.name(), order.name_of(current_stream(tensor.device().index())),
                      "while ordered:" + std::to_string(current_device()) + " is current", "", "",
                      name_of_thread()});
      }
      return nullptr;  // copies record themselves
    }
    if (tensor.is_cpu() && tensor.has_storage() && tensor.numel() > 0) pinned.push_back(tensor);
  }
  if (pinned.empty()) return nullptr;
  const auto schema = function.operator_schema();
  if (!schema) return nullptr;
  for (const auto& result : schema->returns())
    if (result.alias_info() != nullptr && !result.alias_info()->isWrite()) return nullptr;  // views
  for (const at::Tensor& tensor : pinned) {
    if (Block* block = pinned_block_at(tensor.storage().data())) {
      const bool write = !schema->arguments().empty() && schema->arguments()[0].alias_info() != nullptr;
      order.host_access(*block, function.name(), write);
    }
  }
  return nullptr;
}

}  // namespace

void register_observer() {
  at::addGlobalCallback(
      at::RecordFunctionCallback(&look).needsInputs(true).scopes({at::RecordScope::FUNCTION}));
}

}  // namespace ordered
