// Copies between a device and page-locked memory that the host has not waited for.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

#include "memory.h"

namespace ordered {

/// A copy to page-locked memory: until the host has waited for it, the host sees poison.
void arrives_later(const at::Tensor& pinned, const Access& access);
/// A copy from page-locked memory: the host may not change it before it has waited for it.
void leaves_later(const at::Tensor& pinned, const Access& access);
/// Shows work on a stream what it would see there: what arrives later, too.
void see_what_arrived(const at::Tensor& pinned, const std::function<void()>& work);

/// Ends what the host has come to know of: copies to page-locked memory that now have arrived.
void host_caught_up();

}  // namespace ordered
