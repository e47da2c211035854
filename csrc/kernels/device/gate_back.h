// The adjoint of gate.h, which computes its rows once more.
#pragma once

#include "kernels/device/gate.h"

namespace distmlip::kernels {

/// Gradients of weighed messages: a row has that at index[row].
template <class Real>
struct GivenRows {
  const Real* rows;
  const int64_t* index;
};

/// From gradients of what the gate gives to those of what was normalised, [core, gate], of a lane's columns.
template <class Real>
struct HalvesBack {
  Real of[2][columns_of_lane];
};

template <class Backend, class Real>
struct GateBackWork : GateWork<Backend, Real> {
  using Base = GateWork<Backend, Real>;
  using Base::Base;
  using Base::group, Base::rows, Base::scratch, Base::first, Base::n;

  /// Gradients of what was normalised, in scratch; and products.
  DISTMLIP_DEVICE void gates_back(const MessageWeights<Real>& weights, const GivenRows<Real>& given,
                                  Real* products) {
    const int width = rows.n_channels;
    DISTMLIP_UNROLL
    for (int row = 0; row < gated_rows<Real>; ++row) {
      if (row >= n) continue;  // no lane has it
      Real(*x)[most_gated_channels] = scratch.x[row];
      typename Backend::template PerLane<HalvesBack<Real>> back;
      group.each_lane([&](int lane) {
        each_column(lane, width, [&](int c, int j) {
          const GatedChannel<Real> channel(rows, x, c);
          const Real g = given.rows[given.index[first + row] * width + c];
          const Real weighed = g * weight_of(weights, first + row, c, width);
          products[(first + row) * width + c] = g * channel.message;
          back[lane].of[0][j] = weighed * channel.of_core;
          back[lane].of[1][j] = weighed * channel.of_gate;
        });
      });
      DISTMLIP_UNROLL
      for (int half = 0; half < 2; ++half) {
        Real mean = 0, root = 1;
        if (rows.scales) {
          mean = this->sum_of_lanes([&](int lane) {
            Real along = 0;
            each_column(lane, width, [&](int c, int j) { along += back[lane].of[half][j] * x[half][c]; });
            return along;
          });
          mean /= static_cast<Real>(width);
          root = this->roots[row][half];
        }
        group.each_lane([&](int lane) {
          each_column(lane, width, [&](int c, int j) {
            x[half][c] = (back[lane].of[half][j] - x[half][c] * mean) * root;
          });
        });
      }
    }
    group.wait();
  }

  /// Through the hidden layers.
  DISTMLIP_DEVICE void sums_back(Real* of_sums) {
    const int width = rows.n_hidden;
    if (rows.hidden)
      for (int half = 0; half < 2; ++half)
        this->multiply(half, rows.transposed, rows.n_channels, width, nullptr);
    group.each_lane([&](int lane) {
      for (int row = 0; row < n; ++row)
        for (int half = 0; half < 2; ++half)
          each_column(lane, width, [&](int c, int) {
            Real slope = 1;
            if (rows.hidden) {
              const Real x = this->sum(row, half * width + c), s = sigmoid(x);
              slope = s + x * s * (Real(1) - s);
            }
            of_sums[(first + row) * 2 * width + half * width + c] = scratch.x[row][half][c] * slope;
          });
    });
  }
};

template <class Backend, class Real>
void gate_back(const Backend& backend, const GatedRows<Real>& rows, const MessageWeights<Real>& weights,
               const GivenRows<Real>& given, Real* of_sums, Real* products) {
  using Group = typename Backend::Group;
  const auto body = [=] DISTMLIP_DEVICE(const Group& group, int64_t k, GateScratch<Real>& scratch) {
    GateBackWork<Backend, Real> work(group, rows, scratch, k);
    work.forward();
    work.gates_back(weights, given, products);
    work.sums_back(of_sums);
  };
  backend.template for_each_group_with<GateScratch<Real>>(n_gated_groups(rows), body);
}

}  // namespace distmlip::kernels
