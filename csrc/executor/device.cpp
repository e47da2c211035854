#include "executor/device.h"

#include <ATen/ATen.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include "core/error.h"
#include "exchange/device_copies.h"

namespace distmlip::executor {
namespace {

/// Frees a tensor's memory when the last pointer to it is gone.
struct Holder {
  at::Tensor bytes;
  void operator()(void*) { bytes.reset(); }
};

/// The kind of device that the CPU stands in for, in tests.
struct StandIn {
  at::DeviceType kind = at::kCPU;
  std::unique_ptr<kernels::Watch> watch;
} stood_in_for;

}  // namespace

void stand_in(at::DeviceType kind, std::unique_ptr<kernels::Watch> watch) {
  stood_in_for = {kind, std::move(watch)};
}

bool has_kernels(at::Device device) {
  if (stood_in_for.watch && device.type() == stood_in_for.kind) return true;
  if (!device.is_cuda()) return false;
  const c10::DeviceGuard guard(device);
  return kernels::has_cuda_kernels(device.index());
}

namespace {

/// Calls one of these with a device of torch: whose memory is from torch's allocator, and its stream the
/// current one.
template <class Result>
Result created_on(at::Device device, Result (*on_host)(const kernels::Device&),
                  Result (*on_cuda)(const kernels::Device&)) {
  kernels::Device target;
  target.allocate = [device](size_t bytes) {
    const auto options = at::TensorOptions().device(device).dtype(at::kByte);
    at::Tensor tensor = at::empty(static_cast<int64_t>(bytes), options);
    void* data = tensor.mutable_data_ptr();
    return std::shared_ptr<void>(data, Holder{std::move(tensor)});
  };
  if (device.is_cpu()) return on_host(target);
  if (device.type() == stood_in_for.kind) target.watch = stood_in_for.watch.get();
  if (target.watch) return on_host(target);
  if (!has_kernels(device))
    invalid("the device is ", device.str(),
            ", for which this build has no kernels; build it where nvcc is found, for this GPU");
  const c10::Stream stream = c10::impl::VirtualGuardImpl(device.type()).getStream(device);
  target.index = stream.device_index();
  target.stream = stream.native_handle();
  return on_cuda(target);
}

}  // namespace

std::unique_ptr<kernels::DeviceKernels> kernels_on(at::Device device) {
  return created_on(device, &kernels::host_kernels, &kernels::cuda_kernels);
}

template <class Real>
std::unique_ptr<kernels::DeviceOperators<Real>> operators_on(at::Device device) {
  return created_on(device, &kernels::host_operators<Real>, &kernels::cuda_operators<Real>);
}
template std::unique_ptr<kernels::DeviceOperators<float>> operators_on(at::Device device);
template std::unique_ptr<kernels::DeviceOperators<double>> operators_on(at::Device device);

void on_device(at::Device device, const std::function<void(kernels::DeviceKernels&)>& work) {
  const c10::StreamGuard guard(default_stream(device));
  work(*kernels_on(device));
}

partition::DeviceShare share_of(at::Device device) {
  return {{}, [device](const auto& work) { on_device(device, work); }};
}

c10::Stream default_stream(at::Device device) {
  if (device.is_cpu()) return c10::Stream(c10::Stream::DEFAULT, device);
  return c10::impl::VirtualGuardImpl(device.type()).getDefaultStream(device);
}

at::Tensor to_host(const at::Tensor& tensor) {
  if (tensor.is_cpu()) return tensor;
  return exchange::host_memory(tensor.sizes(), tensor.scalar_type(), tensor.device())
      .copy_(tensor, /*non_blocking=*/true);
}

at::Tensor to_device(const at::Tensor& tensor, at::Device device) {
  return tensor.to(device, /*non_blocking=*/true);
}

at::Tensor tensor_of(const std::shared_ptr<void>& memory, int64_t size, at::ScalarType dtype) {
  const auto* holder = std::get_deleter<Holder>(memory);
  TORCH_INTERNAL_ASSERT(holder != nullptr, "an array of other memory than torch's");
  return holder->bytes.view(dtype).narrow(0, 0, size);
}

}  // namespace distmlip::executor
