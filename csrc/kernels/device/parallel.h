// How an algorithm for a device with many threads is written once and runs on CUDA (parallel_cuda.h) or, so
// that it can be tested anywhere, on the CPU (parallel_host.h).
//
// The algorithm is a template over its back end. It allocates arrays, starts loops whose turns may run in any
// order and at the same time, and now and then reads a number back. A turn of for_each is one thread; a turn
// of for_each_group is a group of 32 lanes that take every step together: what a group does outside of
// each_lane, ballot and each must be the same for all of its lanes.
#pragma once

#include "kernels/device/array.h"
#include "kernels/device/code.h"

namespace distmlip::kernels {

constexpr int group_lanes = 32;

}  // namespace distmlip::kernels
