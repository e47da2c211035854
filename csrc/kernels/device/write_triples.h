// Three numbers per edge, written so that neighbouring lanes write to neighbouring places.
#pragma once

#include "kernels/device/parallel.h"

namespace distmlip::kernels {

template <class T>
struct Triples {
  T of[3 * group_lanes];
};

/// to[3 * place(lane) + k] = value(lane, k) for lanes below `count`.
template <class T, class Group, class Value, class Place>
DISTMLIP_DEVICE inline void write_triples(const Group& group, int count, Triples<T>& scratch, Value value,
                                          const Place& place, T* to) {
  group.wait();
  group.each_lane([&](int lane) {
    for (int k = 0; k < 3; ++k) scratch.of[3 * lane + k] = value(lane, k);
  });
  group.wait();
  DISTMLIP_UNROLL
  for (int part = 0; part < 3; ++part) {
    const auto at = group.shuffle(place, [&](int lane) { return (part * group_lanes + lane) / 3; });
    group.each_lane([&](int lane) {
      const int element = part * group_lanes + lane;
      if (element < 3 * count) to[3 * at[lane] + element % 3] = scratch.of[element];
    });
  }
}

}  // namespace distmlip::kernels
