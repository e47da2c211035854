// Inner loops: which processor instructions they use, and some of those for devices by themselves.
#include <ATen/ATen.h>
#include <c10/core/DeviceGuard.h>
#include <pybind11/stl.h>
#include <torch/csrc/utils/pybind.h>

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "bindings/bindings.h"
#include "core/error.h"
#include "executor/device.h"
#include "kernels/distance_filter.h"
#include "kernels/simd.h"

namespace py = pybind11;

namespace distmlip::bindings {
namespace {

/// Throws unless `rows` are rows of `tensor`, which is contiguous and has as many numbers in each as `other`.
void check_rows(const at::Tensor& tensor, const at::Tensor& rows, const at::Tensor& other) {
  if (rows.dim() != 1 || rows.scalar_type() != at::kLong || rows.device() != tensor.device())
    invalid("rows must be a 1-D int64 tensor on ", tensor.device().str());
  if (tensor.dim() != 2 || !tensor.is_contiguous() || !rows.is_contiguous() || !other.is_contiguous())
    invalid("rows are of contiguous tensors with the shape (n, width)");
  if (rows.numel() > 0 && (rows.min().item<int64_t>() < 0 || rows.max().item<int64_t>() >= tensor.size(0))) {
    invalid("rows reach from ", rows.min().item<int64_t>(), " to ", rows.max().item<int64_t>(),
            ", but there are ", tensor.size(0));
  }
}

at::Tensor device_gather_rows(const at::Tensor& from, const at::Tensor& rows) {
  check_rows(from, rows, from);
  at::Tensor to = at::empty({rows.size(0), from.size(1)}, from.options());
  const c10::DeviceGuard guard(from.device());
  executor::kernels_on(from.device())
      ->gather_rows(rows.size(0), from.size(1) * from.element_size(), rows.const_data_ptr<int64_t>(),
                    from.const_data_ptr(), to.mutable_data_ptr());
  return to;
}

void device_add_rows(const at::Tensor& to, const at::Tensor& rows, const at::Tensor& from) {
  check_rows(to, rows, from);
  if (from.sizes() != at::IntArrayRef{rows.size(0), to.size(1)} || from.scalar_type() != to.scalar_type() ||
      from.device() != to.device()) {
    invalid(
        "what is added must have the shape (n_rows, width), and the type and device of what it is added to");
  }
  const c10::DeviceGuard guard(to.device());
  const auto kernels = executor::kernels_on(to.device());
  const auto add = [&]<class Value>(const Value* values, Value* sums) {
    kernels->add_rows(rows.size(0), to.size(1), rows.const_data_ptr<int64_t>(), values, sums);
  };
  if (to.scalar_type() == at::kFloat) {
    add(from.const_data_ptr<float>(), to.mutable_data_ptr<float>());
  } else if (to.scalar_type() == at::kDouble) {
    add(from.const_data_ptr<double>(), to.mutable_data_ptr<double>());
  } else if (to.scalar_type() == at::kBFloat16) {
    add(static_cast<const uint16_t*>(from.const_data_ptr()), static_cast<uint16_t*>(to.mutable_data_ptr()));
  } else {
    invalid("rows of type ", toString(to.scalar_type()),
            " cannot be added; float32, float64 and bfloat16 can");
  }
}

/// Python's eyes.
class Watcher final : public kernels::Watch {
 public:
  Watcher(py::function begin, py::function end, py::function wait)
      : begin_(std::move(begin)), end_(std::move(end)), wait_(std::move(wait)) {}

  void run(const char* name, const std::function<void()>& work) override {
    call(begin_, name);
    work();
    call(end_);
  }
  void wait() override { call(wait_); }

 private:
  template <class... Arguments>
  static void call(const py::function& function, const Arguments&... arguments) {
    const py::gil_scoped_acquire gil;
    function(arguments...);
  }

  py::function begin_, end_, wait_;
};

void stand_in(at::Device device, const std::optional<std::array<py::function, 3>>& watch) {
  std::unique_ptr<kernels::Watch> watcher;
  if (watch) watcher = std::make_unique<Watcher>((*watch)[0], (*watch)[1], (*watch)[2]);
  executor::stand_in(device.type(), std::move(watcher));
}

}  // namespace

void bind_kernels(py::module_& module) {
  std::vector<std::string> levels;
  for (const kernels::Simd set : kernels::simd_sets()) levels.push_back(kernels::name_of(set));
  module.attr("simd_levels") = levels;
  module.def(
      "simd", [] { return kernels::name_of(kernels::simd()); }, "The instruction set that kernels use.");
  module.def(
      "set_simd", &kernels::set_simd, py::arg("level"),
      "Chooses one of simd_levels for the whole process; neighbours and graphs are the same to the last "
      "bit, native stages keep what they were made with.");
  module.def("has_kernels", &executor::has_kernels, py::arg("device"),
             "Whether graphs are made on this device; elsewhere they are made on the host and moved.");
  module.def("stand_in", &stand_in, py::arg("device"), py::arg("watch") = py::none(),
             "For tests: devices of this kind have kernels, those of the CPU. watch: what is called at the "
             "begin of each (with its name), at its end, and where the host waits; None: they have none.");
  module.def("device_gather_rows", &device_gather_rows, py::arg("source"), py::arg("rows"),
             py::call_guard<py::gil_scoped_release>(), "source[rows]");
  module.def("device_add_rows", &device_add_rows, py::arg("target"), py::arg("rows"), py::arg("values"),
             py::call_guard<py::gil_scoped_release>(), "target[rows] += values; no row may be named twice.");
}

}  // namespace distmlip::bindings
