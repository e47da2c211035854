// What Python sees of the folders of csrc/.
#pragma once

#include <pybind11/pybind11.h>

#include <memory>

namespace distmlip::exchange {
class Exchange;
}

namespace distmlip::bindings {

void bind_core(pybind11::module_& module);
void bind_kernels(pybind11::module_& module);
void bind_neighbors(pybind11::module_& module);
void bind_partition(pybind11::module_& module);
void bind_executor(pybind11::module_& module);
void bind_blocks(pybind11::module_& module);
void bind_exchange(pybind11::module_& module);
void bind_native(pybind11::module_& module);
void bind_native_parts(pybind11::module_& module);
void bind_operators(pybind11::module_& module);
void bind_gated(pybind11::module_& module);
void bind_directed(pybind11::module_& module);
void bind_so2(pybind11::module_& module);

/// What an exchange of Python (distmlip/models/exchanges.py) is here.
std::shared_ptr<const exchange::Exchange> exchange_of(const pybind11::handle& exchange);

}  // namespace distmlip::bindings
