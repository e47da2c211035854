// Tensors for what a sweep computes.
#pragma once

#include <ATen/core/Tensor.h>

namespace distmlip::exchange {

/// As at::empty. Large ones on the host are on huge pages, in memory that is used again (core/pages.h): what
/// the C library takes from the system for them, page by page and each time anew, can cost a third of a step.
at::Tensor empty(at::IntArrayRef sizes, const at::TensorOptions& options);

}  // namespace distmlip::exchange
