// A device of torch for the algorithms of kernels/: its memory and its stream.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/StreamGuard.h>

#include <functional>
#include <memory>

#include "kernels/device_kernels.h"
#include "kernels/device_operators.h"
#include "partition/decomposition.h"

namespace distmlip::executor {

/// Whether graphs can be made on this device: a CUDA device that the kernels of this build run on.
bool has_kernels(at::Device device);

/// The algorithms on a device, in memory of torch's allocator and on the stream that is current now; so
/// whatever torch does on that stream follows in order. The device must be current while they are called.
/// Throws std::invalid_argument for anything but a CPU and devices that have kernels.
std::unique_ptr<kernels::DeviceKernels> kernels_on(at::Device device);

/// The same for operators of models.
template <class Real>
std::unique_ptr<kernels::DeviceOperators<Real>> operators_on(at::Device device);

/// For tests: from now on devices of this kind have kernels, those of the CPU, which `watch` looks at. Null:
/// no longer.
void stand_in(at::DeviceType kind, std::unique_ptr<kernels::Watch> watch);

/// Calls `work` with the algorithms on a device, while it and the stream of workers are the calling thread's.
void on_device(at::Device device, const std::function<void(kernels::DeviceKernels& kernels)>& work);

/// A share of a decomposition on this device, of no partition yet.
partition::DeviceShare share_of(at::Device device);

/// The stream that workers use. Graphs are made on it, too, whatever stream is current where that is asked
/// for.
c10::Stream default_stream(at::Device device);

/// A copy in host memory, page-locked, of a tensor on a GPU. It is made in the order of the current stream;
/// nothing waits for it. Tensors that are in host memory already are returned as they are.
at::Tensor to_host(const at::Tensor& tensor);

/// The way back, in the order of the same stream.
at::Tensor to_device(const at::Tensor& tensor, at::Device device);

/// The elements of an array that such kernels returned. They share its memory.
at::Tensor tensor_of(const std::shared_ptr<void>& memory, int64_t size, at::ScalarType dtype);

template <class T>
at::Tensor tensor_of(const kernels::Array<T>& array) {
  return tensor_of(array.memory, array.size, c10::CppTypeToScalarType<T>::value);
}

}  // namespace distmlip::executor
