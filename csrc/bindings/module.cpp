#include <torch/version.h>

#include "bindings/bindings.h"

PYBIND11_MODULE(_core, module) {
  module.doc() = "Compiled core of distmlip: graphs, partitions, exchange and executor.";
  module.attr("torch_version") = TORCH_VERSION;
#ifdef DISTMLIP_WITH_CUDA
  module.attr("with_cuda") = true;
#else
  module.attr("with_cuda") = false;
#endif
  bind_partition(module);
  bind_executor(module);
}
