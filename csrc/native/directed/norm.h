// Layer normalisation of rows.
#pragma once

#include "native/directed/parameters.h"

namespace distmlip::native::directed {

template <class T>
class Norm {
 public:
  /// Throws std::invalid_argument unless there are so many scales and shifts.
  Norm(const Operators<T>& operators, const NormParameters& parameters, int channels)
      : operators_(operators),
        scales_(parameters.scales.begin(), parameters.scales.end()),
        shifts_(parameters.shifts.begin(), parameters.shifts.end()),
        epsilon_(static_cast<T>(parameters.epsilon)) {
    if (std::ssize(scales_) != channels || std::ssize(shifts_) != channels)
      invalid(scales_.size(), " scales and ", shifts_.size(), " shifts of ", channels, " channels");
  }

  /// Of rows before their norm.
  struct Memory {
    Buffer<T> kept, roots;
    void reserve(int64_t n, int64_t channels) {
      if (kept.size() < static_cast<size_t>(n * channels + slack))
        kept.resize(static_cast<size_t>(n * channels + slack));
      if (roots.size() < static_cast<size_t>(n)) roots.resize(static_cast<size_t>(n));
    }
  };
  /// Over the rows.
  void forward(int64_t n, T* rows, Memory& memory) const {
    memory.reserve(n, std::ssize(scales_));
    operators_.gated.layer_norm(static_cast<int>(n), channels(), scales_.data(), shifts_.data(), epsilon_,
                                rows, memory.kept.data(), memory.roots.data());
  }
  /// Over the gradients.
  void backward(int64_t n, T* gradients, const Memory& memory) const {
    operators_.gated.layer_norm_back(static_cast<int>(n), channels(), scales_.data(), memory.kept.data(),
                                     memory.roots.data(), gradients);
  }

 private:
  int channels() const { return static_cast<int>(scales_.size()); }

  const Operators<T>& operators_;
  std::vector<T> scales_, shifts_;
  T epsilon_;
};

}  // namespace distmlip::native::directed
