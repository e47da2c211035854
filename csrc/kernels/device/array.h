// Memory and order of execution, for algorithms that run on a device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

namespace distmlip::kernels {

/// Looks on while the CPU stands in for a device, in tests of the order of work on streams.
class Watch {
 public:
  virtual ~Watch() = default;
  /// Runs what is one piece of work on a device.
  virtual void run(const char* name, const std::function<void()>& work) = 0;
  /// The host waits for all that has been put on the stream.
  virtual void wait() = 0;
};

/// Everything is put on the stream in the order of calls; memory is only used on that stream.
struct Device {
  /// Uninitialised memory of so many bytes, aligned to 16, that lives as long as the pointer or a copy of it.
  std::function<std::shared_ptr<void>(size_t bytes)> allocate;
  int index = 0;           // of the CUDA device; without meaning on the CPU
  void* stream = nullptr;  // a cudaStream_t; without meaning on the CPU
  Watch* watch = nullptr;  // of the CPU: who wants to know
};

/// An array in a device's memory. Copies share it.
template <class T>
struct Array {
  std::shared_ptr<void> memory;
  int64_t size = 0;

  T* data() const { return static_cast<T*>(memory.get()); }
};

}  // namespace distmlip::kernels
