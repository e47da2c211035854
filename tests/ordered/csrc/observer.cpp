// Looks at operators before they run: is the device current; does the host touch page-locked memory that a
// copy is still using. Structured functional kernels set the device before they call the `.out` operator, so
// that the fallback would see every device as the current one.
#include <ATen/ATen.h>
#include <ATen/record_function.h>

#include "aliases.h"
#include "streams.h"

namespace ordered {
namespace {

void check_current(const at::RecordFunction& function, int device) {
  Order& order = Order::the();
  if (!order.check_device || device == current_device()) return;
  order.report({"device", function.name(), order.name_of(current_stream(device)),
                "while ordered:" + std::to_string(current_device()) + " is current", "", "",
                name_of_thread()});
}

bool makes_views(const c10::FunctionSchema& schema) {
  const auto is_view = [](const c10::Argument& result) {
    return result.alias_info() != nullptr && !result.alias_info()->isWrite();
  };
  return std::any_of(schema.returns().begin(), schema.returns().end(), is_view);
}

void check_host(const at::RecordFunction& function, const std::vector<at::Tensor>& on_host) {
  const auto schema = function.operator_schema();
  if (!schema || makes_views(*schema)) return;
  const bool write = !schema->arguments().empty() && schema->arguments()[0].alias_info() != nullptr;
  for (const at::Tensor& tensor : on_host)
    if (Block* block = pinned_block_at(tensor.storage().data()))
      Order::the().host_access(*block, function.name(), write);
}

std::unique_ptr<at::ObserverContext> look(const at::RecordFunction& function) {
  if (OwnWork::depth > 0) return nullptr;
  std::vector<at::Tensor> on_host;
  for (const c10::IValue& value : function.inputs()) {
    if (value.isDevice() && value.toDevice().type() == c10::kPrivateUse1) return nullptr;
    if (!value.isTensor() || !value.toTensor().defined()) continue;
    const at::Tensor tensor = value.toTensor();
    if (here(tensor)) {
      check_current(function, tensor.device().index());
      return nullptr;  // copies record themselves
    }
    if (tensor.is_cpu() && tensor.has_storage() && tensor.numel() > 0) on_host.push_back(tensor);
  }
  check_host(function, on_host);
  return nullptr;
}

}  // namespace

void register_observer() {
  at::addGlobalCallback(
      at::RecordFunctionCallback(&look).needsInputs(true).scopes({at::RecordScope::FUNCTION}));
}

}  // namespace ordered
