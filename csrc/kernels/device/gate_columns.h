// How the lanes of a group share rows of gated perceptrons: each has every 32nd channel of all of them.
#pragma once

#include <cmath>

#include "kernels/device/parallel.h"
#include "kernels/device_operands.h"

namespace distmlip::kernels {

/// Rows of a group; scratch of a block stays below 48 kB.
template <class Real>
constexpr int gated_rows = 32 / sizeof(Real);
constexpr int columns_of_lane = most_gated_channels / group_lanes;

/// [row][half][channel]
template <class Real>
struct GateScratch {
  Real x[gated_rows<Real>][2][most_gated_channels];
};

/// What a lane has found in its columns.
template <class Real>
struct LaneColumns {
  Real of[gated_rows<Real>][columns_of_lane];
};

template <class Real>
DISTMLIP_DEVICE Real sigmoid(Real x) {
  return Real(1) / (Real(1) + std::exp(-x));
}

/// f(column, which of the lane's it is) for those of a lane.
template <class F>
DISTMLIP_DEVICE void each_column(int lane, int n, F f) {
  DISTMLIP_UNROLL
  for (int j = 0; j < columns_of_lane; ++j)
    if (lane + j * group_lanes < n) f(lane + j * group_lanes, j);
}

/// silu(core) · sigmoid(gate) of one channel, and its slopes with respect to what was normalised.
template <class Real>
struct GatedChannel {
  Real message, of_core, of_gate;

  /// x: normalised, both halves.
  DISTMLIP_DEVICE GatedChannel(const GatedRows<Real>& rows, const Real (*x)[most_gated_channels], int c) {
    const bool is_scaled = rows.scales != nullptr;
    const Real core_scale = is_scaled ? rows.scales[c] : Real(1);
    const Real gate_scale = is_scaled ? rows.scales[rows.n_channels + c] : Real(1);
    const Real core = x[0][c] * core_scale + (is_scaled ? rows.shifts[c] : Real(0));
    const Real gate = x[1][c] * gate_scale + (is_scaled ? rows.shifts[rows.n_channels + c] : Real(0));
    const Real s = sigmoid(core), q = sigmoid(gate), y = core * s;
    message = y * q;
    of_core = q * (s + y * (Real(1) - s)) * core_scale;
    of_gate = message * (Real(1) - q) * gate_scale;
  }
};

}  // namespace distmlip::kernels
