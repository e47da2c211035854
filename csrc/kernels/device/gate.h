// Gated perceptrons of edges or angles on a device. A group takes several rows through all layers: sums of
// table rows, what hidden layers make of them, and both halves stand in its scratch, weights are read by all
// groups at the same time and stay in the first cache. No barrier of a block is needed.
#pragma once

#include "kernels/device/gate_columns.h"
#include "kernels/device/sum_rows.h"

namespace distmlip::kernels {

/// The rows of one group, from row `first` on.
template <class Backend, class Real>
struct GateWork {
  using Group = typename Backend::Group;
  const Group& group;
  const GatedRows<Real>& rows;
  GateScratch<Real>& scratch;
  int64_t first;
  int n;                            // rows that there are
  Real roots[gated_rows<Real>][2];  // reciprocal ones of the mean squares of both halves

  DISTMLIP_DEVICE GateWork(const Group& of, const GatedRows<Real>& all, GateScratch<Real>& memory, int64_t k)
      : group(of), rows(all), scratch(memory), first(k * gated_rows<Real>) {
    n = static_cast<int>(all.n_rows - first < gated_rows<Real> ? all.n_rows - first : gated_rows<Real>);
  }

  /// Of the tables' rows, in a column of [core | gate].
  DISTMLIP_DEVICE Real sum(int row, int column) const {
    Real total = 0;
    for (int t = 0; t < rows.n_tables; ++t)
      total += rows.tables[t][rows.index[t][first + row] * 2 * rows.n_hidden + column];
    return total;
  }

  /// What is normalised, in scratch.
  DISTMLIP_DEVICE void forward() {
    const int width = rows.n_hidden;
    for (int row = 0; row < gated_rows<Real>; ++row)
      group.each_lane([&](int lane) {
        for (int half = 0; half < 2; ++half)
          each_column(lane, width, [&](int c, int) {
            const Real x = row < n ? sum(row, half * width + c) : Real(0);
            scratch.x[row][half][c] = rows.hidden ? x * sigmoid(x) : x;
          });
      });
    group.wait();
    if (rows.hidden)
      for (int half = 0; half < 2; ++half) multiply(half, rows.hidden, width, rows.n_channels, rows.bias);
    if (rows.scales) normalise();
  }

  /// Rows of a half in scratch become rows · matrix[half] + bias[half].
  DISTMLIP_DEVICE void multiply(int half, const Real* matrices, int n_in, int n_out, const Real* bias) {
    const Real* matrix = matrices + static_cast<int64_t>(half) * n_in * n_out;
    typename Backend::template PerLane<LaneColumns<Real>> products;
    group.each_lane([&](int lane) {
      LaneColumns<Real>& mine = products[lane];
      mine = {};
      if (bias)
        each_column(lane, n_out, [&](int c, int j) {
          DISTMLIP_UNROLL
          for (int row = 0; row < gated_rows<Real>; ++row) mine.of[row][j] = bias[half * n_out + c];
        });
      for (int k = 0; k < n_in; ++k)
        each_column(lane, n_out, [&](int c, int j) {
          const Real weight = matrix[k * n_out + c];
          DISTMLIP_UNROLL
          for (int row = 0; row < gated_rows<Real>; ++row)
            mine.of[row][j] += scratch.x[row][half][k] * weight;
        });
    });
    group.wait();
    group.each_lane([&](int lane) {
      each_column(lane, n_out, [&](int c, int j) {
        DISTMLIP_UNROLL
        for (int row = 0; row < gated_rows<Real>; ++row) scratch.x[row][half][c] = products[lane].of[row][j];
      });
    });
    group.wait();
  }

  /// Σ value(lane)
  template <class F>
  DISTMLIP_DEVICE Real sum_of_lanes(F value) const {
    typename Backend::template PerLane<Real> values;
    group.each_lane([&](int lane) { values[lane] = value(lane); });
    return group.reduce(values, [](Real a, Real b) { return a + b; });
  }

  DISTMLIP_DEVICE void normalise() {
    DISTMLIP_UNROLL
    for (int row = 0; row < gated_rows<Real>; ++row) {
      DISTMLIP_UNROLL
      for (int half = 0; half < 2; ++half) {
        Real* x = scratch.x[row][half];
        const Real squares = sum_of_lanes([&](int lane) {
          Real total = 0;
          each_column(lane, rows.n_channels, [&](int c, int) { total += x[c] * x[c]; });
          return total;
        });
        const Real root = Real(1) / std::sqrt(squares / static_cast<Real>(rows.n_channels) + rows.epsilon);
        roots[row][half] = root;
        group.each_lane(
            [&](int lane) { each_column(lane, rows.n_channels, [&](int c, int) { x[c] *= root; }); });
      }
    }
    group.wait();
  }
};

template <class Real>
int64_t n_gated_groups(const GatedRows<Real>& rows) {
  return (rows.n_rows + gated_rows<Real> - 1) / gated_rows<Real>;
}

template <class Backend, class Real>
void gate(const Backend& backend, const GatedRows<Real>& rows, Real* messages) {
  using Group = typename Backend::Group;
  const auto body = [=] DISTMLIP_DEVICE(const Group& group, int64_t k, GateScratch<Real>& scratch) {
    GateWork<Backend, Real> work(group, rows, scratch, k);
    work.forward();
    group.each_lane([&](int lane) {
      for (int row = 0; row < work.n; ++row)
        each_column(lane, rows.n_channels, [&](int c, int) {
          messages[(work.first + row) * rows.n_channels + c] =
              GatedChannel<Real>(rows, scratch.x[row], c).message;
        });
    });
  };
  backend.template for_each_group_with<GateScratch<Real>>(n_gated_groups(rows), body);
}

}  // namespace distmlip::kernels
