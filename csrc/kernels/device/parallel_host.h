// The back end of parallel.h that runs on the CPU, in the calling thread. Sums are taken in the order in
// which CUDA takes them, so both give the same results to the last bit.
#pragma once

#include <algorithm>
#include <functional>
#include <utility>
#include <vector>

#include "kernels/device/parallel.h"

namespace distmlip::kernels {

class Host {
 public:
  explicit Host(const Device& device) : device_(device) {}

  /// A value for each lane of a group; on CUDA each lane has its own and no other.
  template <class T>
  struct PerLane {
    T values[group_lanes];
    T& operator[](int lane) { return values[lane]; }
    const T& operator[](int lane) const { return values[lane]; }
  };

  class Group {
   public:
    template <class F>
    void each_lane(F f) const {
      for (int lane = 0; lane < group_lanes; ++lane) f(lane);
    }

    /// Lanes see what others have written before.
    void wait() const {}

    /// f() by one lane.
    template <class F>
    void once(F f) const {
      f();
    }

    /// Bit k: holds(k).
    template <class F>
    uint32_t ballot(F holds) const {
      uint32_t mask = 0;
      for (int lane = 0; lane < group_lanes; ++lane) mask |= static_cast<uint32_t>(holds(lane)) << lane;
      return mask;
    }

    /// f(lane, how many lanes of the mask are before it) for every lane of the mask.
    template <class F>
    void each(uint32_t mask, F f) const {
      int nth = 0;
      for (int lane = 0; lane < group_lanes; ++lane)
        if (mask >> lane & 1) f(lane, nth++);
    }

    /// result[lane] = values[from(lane)], 0 <= from(lane) < group_lanes.
    template <class T, class F>
    PerLane<T> shuffle(const PerLane<T>& values, F from) const {
      PerLane<T> result;
      for (int lane = 0; lane < group_lanes; ++lane) result[lane] = values[from(lane)];
      return result;
    }

    /// Replaces each lane's value by the sum of those before it; returns the sum of all.
    int exclusive_sum(PerLane<int>& values) const {
      int sum = 0;
      for (int lane = 0; lane < group_lanes; ++lane) sum += std::exchange(values[lane], sum);
      return sum;
    }

    /// combine() over all lanes; it must be commutative.
    template <class T, class F>
    T reduce(PerLane<T> values, F combine) const {
      for (int offset = group_lanes / 2; offset > 0; offset /= 2) {
        const PerLane<T> before = values;
        for (int lane = 0; lane < group_lanes; ++lane)
          values[lane] = combine(before[lane], before[lane ^ offset]);
      }
      return values[0];
    }
  };

  template <class T>
  Array<T> array(int64_t n) const {
    return {device_.allocate(static_cast<size_t>(std::max<int64_t>(n, 1)) * sizeof(T)), n};
  }

  template <class F>
  void for_each(int64_t n, F f) const {
    if (n == 0) return;
    watched("kernel", [&] {
      for (int64_t i = 0; i < n; ++i) f(i);
    });
  }

  template <class F>
  void for_each_group(int64_t n, F f) const {
    for_each(n, [&](int64_t i) { f(Group(), i); });
  }

  /// f(group, i, scratch): the lanes of a group share a Scratch.
  template <class Scratch, class F>
  void for_each_group_with(int64_t n, F f) const {
    Scratch scratch;
    for_each(n, [&](int64_t i) { f(Group(), i, scratch); });
  }

  /// begin[k] = counts[0] + … + counts[k − 1], for k in [0, n].
  void sum_before(const int32_t* counts, int64_t n, int64_t* begin) const {
    watched("sum", [&] {
      begin[0] = 0;
      for (int64_t k = 0; k < n; ++k) begin[k + 1] = begin[k] + counts[k];
    });
  }

  /// Sorts pairs by their keys, which are below `end`; equal keys stay in their order.
  void sort(Array<uint32_t>& keys, Array<int32_t>& values, uint32_t /*end*/) const {
    std::vector<std::pair<uint32_t, int32_t>> pairs(keys.size);
    watched("sort", [&] {
      for (int64_t k = 0; k < keys.size; ++k) pairs[k] = {keys.data()[k], values.data()[k]};
      std::stable_sort(pairs.begin(), pairs.end(), [](auto& a, auto& b) { return a.first < b.first; });
      for (int64_t k = 0; k < keys.size; ++k) {
        keys.data()[k] = pairs[k].first;
        values.data()[k] = pairs[k].second;
      }
    });
  }

  /// Copies to and from the host; returns when it is done.
  template <class T>
  void read(const T* from, int64_t n, T* to) const {
    watched("copy", [&] { std::copy_n(from, n, to); });
    if (device_.watch) device_.watch->wait();
  }
  template <class T>
  void write(const T* from, int64_t n, T* to) const {
    read(from, n, to);
  }

 private:
  void watched(const char* name, const std::function<void()>& work) const {
    device_.watch ? device_.watch->run(name, work) : work();
  }

  const Device& device_;
};

}  // namespace distmlip::kernels
