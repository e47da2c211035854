#include <torch/version.h>

#include <exception>
#include <stdexcept>

#include "bindings/bindings.h"
#include "exchange/group.h"

namespace {

void set_error(const char* name, const std::exception& error) {
  const auto type = pybind11::module_::import("distmlip.errors").attr(name);
  PyErr_SetString(type.ptr(), error.what());
}

/// What the core finds wrong with an input is distmlip's own exception in Python.
void translate(std::exception_ptr thrown) {
  try {
    std::rethrow_exception(thrown);
  } catch (const std::invalid_argument& error) {
    set_error("InvalidInputError", error);
  } catch (const distmlip::exchange::RankError& error) {
    set_error("RankError", error);
  }
}

}  // namespace

PYBIND11_MODULE(_core, module) {
  module.doc() = "Compiled core of distmlip: graphs, partitions, exchange and executor.";
  module.attr("torch_version") = TORCH_VERSION;
  pybind11::register_local_exception_translator(&translate);
  distmlip::bindings::bind_core(module);
  distmlip::bindings::bind_kernels(module);
  distmlip::bindings::bind_neighbors(module);
  distmlip::bindings::bind_partition(module);
  distmlip::bindings::bind_exchange(module);
  distmlip::bindings::bind_native(module);
  distmlip::bindings::bind_operators(module);
  distmlip::bindings::bind_gated(module);
  distmlip::bindings::bind_directed(module);
  distmlip::bindings::bind_so2(module);
  distmlip::bindings::bind_executor(module);
  distmlip::bindings::bind_blocks(module);
}
