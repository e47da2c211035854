#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <tuple>

#include "kernels.h"
#include "memory.h"
#include "streams.h"

namespace py = pybind11;

namespace ordered {

void register_observer();

PYBIND11_MODULE(_ordered, module) {
  register_allocators();
  register_hosts();
  register_hooks();
  register_observer();
  module.def("device_count", [] { return kDevices; });
  module.def("current_device", &current_device);
  module.def("set_device", &set_current_device);
  module.def("exchange_device", [](int device) {
    const int before = current_device();
    if (device >= 0) set_current_device(device);
    return before;
  });
  module.def("take_reports", [] {
    look_at_all_memory();
    std::vector<std::pair<std::string, std::string>> texts;
    for (const Report& report : Order::the().take_reports()) texts.emplace_back(report.kind, report.text());
    return texts;
  });
  module.def("take_counts", [] {
    const std::lock_guard lock(Order::the().mutex);
    auto counts = std::exchange(Order::the().counts, {});
    int64_t longest = 0;
    for (const Order::Link& copy : counts.copies) longest = std::max(longest, copy.length);
    return std::tuple(counts.launches, counts.syncs, longest);
  });
  module.def("set_raise", [](bool on) { Order::the().raise = on; });
  module.def("set_check_device", [](bool on) { Order::the().check_device = on; });
  module.def("begin_host", &begin_host);
  module.def("end_host", &end_host);
  module.def("begin_kernel", &begin_kernel);
  module.def("end_kernel", &end_kernel);
  module.def("wait_for_kernels", &wait_for_kernels);
}

}  // namespace ordered
