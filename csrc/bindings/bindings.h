// One function per folder of csrc/, for what Python sees of it.
#pragma once

#include <pybind11/pybind11.h>

namespace distmlip::bindings {

void bind_core(pybind11::module_& module);
void bind_kernels(pybind11::module_& module);
void bind_neighbors(pybind11::module_& module);
void bind_partition(pybind11::module_& module);
void bind_executor(pybind11::module_& module);
void bind_flushed_team(pybind11::module_& module);
void bind_ranks(pybind11::module_& module);

}  // namespace distmlip::bindings
