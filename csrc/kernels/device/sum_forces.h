// Forces and virials from the gradients of edges: what edge_forces.h describes, on a device.
//
// Every row sums what it receives and what it sends by itself, in a fixed order: no two threads add to the
// same place, so the result is the same from run to run. The edges that a row sends are found by a list of
// all candidates by sender, which is made with the graph. Atomic additions would need no such list, but three
// to twelve of them per edge cost more than reading its gradient twice.
#pragma once

#include "kernels/device/parallel.h"
#include "kernels/device/step.h"
#include "kernels/edge_forces.h"

namespace distmlip::kernels {

constexpr int n_virial = 9;

/// What one lane adds up for a row.
struct RowSums {
  double force[3];
  double received[n_virial], sent[n_virial];  // virials
};

/// Adds an edge's gradient, times `sign`.
template <class Real>
DISTMLIP_DEVICE inline void add_force(const EdgeGradients<Real>& edges, int64_t edge, double sign,
                                      double* force) {
  for (int k = 0; k < 3; ++k) force[k] += sign * static_cast<double>(edges.gradients[3 * edge + k]);
}

template <class Real>
DISTMLIP_DEVICE inline void add_virial(const EdgeGradients<Real>& edges, int64_t edge, double* virial) {
  for (int m = 0; m < 3; ++m) {
    const double length = edges.vectors[3 * edge + m];
    for (int k = 0; k < 3; ++k)
      virial[3 * m + k] -= length * static_cast<double>(edges.gradients[3 * edge + k]);
  }
}

/// What one lane adds to the sums of a row.
template <class Real>
DISTMLIP_DEVICE inline RowSums row_sums(const EdgeGradients<Real>& edges, const SentEdges& sent, int64_t row,
                                        int lane, bool with_virials) {
  RowSums sums{};
  if (row < edges.n_rows) {
    const int64_t end = edges.row_begin[row + 1];
    for (int64_t edge = edges.row_begin[row] + lane; edge < end; edge += group_lanes) {
      add_force(edges, edge, 1.0, sums.force);
      add_virial(edges, edge, sums.received);
    }
  }
  for (int64_t k = sent.row_begin[row] + lane; k < sent.row_begin[row + 1]; k += group_lanes) {
    const int32_t edge = sent.edge_of[sent.candidate[k]];
    if (edge < 0) continue;
    add_force(edges, edge, -1.0, sums.force);
    if (with_virials) add_virial(edges, edge, sums.sent);
  }
  return sums;
}

/// Where the virial's number k stands in the rows of EdgeForces.
DISTMLIP_DEVICE inline int virial_place(int k) { return 4 * (k / 3) + k % 3; }

/// The sum of value(lane) over lanes.
template <class Backend, class Value>
DISTMLIP_DEVICE inline double sum_lanes(const typename Backend::Group& group, Value value) {
  typename Backend::template PerLane<double> values;
  group.each_lane([&](int lane) { values[lane] = value(lane); });
  return group.reduce(values, [](double a, double b) { return a + b; });
}

/// Adds forces, and virials where they are wanted; row_virials (n_rows, n_virial) gets those of the edges
/// that each row receives.
template <class Backend, class Real>
void sum_rows(const Backend& backend, const EdgeGradients<Real>& edges, const SentEdges& sent,
              const EdgeForces& out, double* row_virials) {
  using Group = typename Backend::Group;
  backend.for_each_group(sent.n_local, [=] DISTMLIP_DEVICE(const Group& group, int64_t row) {
    const bool with_virials = out.virials != nullptr;
    const int64_t sum = sent.sum_of[row];
    typename Backend::template PerLane<RowSums> mine;
    group.each_lane([&](int lane) { mine[lane] = row_sums(edges, sent, row, lane, with_virials); });
    DISTMLIP_UNROLL
    for (int k = 0; k < 3; ++k) {
      const double force = sum_lanes<Backend>(group, [&](int lane) { return mine[lane].force[k]; });
      group.once([&] { out.forces[4 * sum + k] += force; });
    }
    DISTMLIP_UNROLL
    for (int k = 0; k < n_virial; ++k) {
      double received = 0, both = 0;
      if (row < edges.n_rows) {
        received = both = sum_lanes<Backend>(group, [&](int lane) { return mine[lane].received[k]; });
        group.once([&] { row_virials[n_virial * row + k] = received; });
      }
      if (!with_virials) continue;
      both += sum_lanes<Backend>(group, [&](int lane) { return mine[lane].sent[k]; });
      group.once([&] { out.virials[12 * sum + virial_place(k)] += 0.5 * both; });
    }
  });
}

/// virial (3, 4) += the sum over rows (n_rows, n_virial), in an order that depends on their number only.
template <class Backend>
void sum_virials(const Backend& backend, int64_t n_rows, const double* rows, double* virial) {
  using Group = typename Backend::Group;
  constexpr int64_t most_parts = 1024;
  const int64_t n_parts = std::min((n_rows + group_lanes - 1) / group_lanes, most_parts);
  const auto part_array = backend.template array<double>(n_parts * n_virial);
  double* parts = part_array.data();
  const auto sum = [=] DISTMLIP_DEVICE(const Group& group, int64_t first, int64_t step, int64_t n,
                                       const double* from, int k) {
    typename Backend::template PerLane<double> values;
    group.each_lane([&](int lane) {
      values[lane] = 0;
      for (int64_t row = first + lane; row < n; row += step) values[lane] += from[n_virial * row + k];
    });
    return group.reduce(values, [](double a, double b) { return a + b; });
  };
  backend.for_each_group(n_parts, [=] DISTMLIP_DEVICE(const Group& group, int64_t part) {
    for (int k = 0; k < n_virial; ++k) {
      const double value = sum(group, part * group_lanes, n_parts * group_lanes, n_rows, rows, k);
      group.once([&] { parts[n_virial * part + k] = value; });
    }
  });
  backend.for_each_group(1, [=] DISTMLIP_DEVICE(const Group& group, int64_t) {
    for (int k = 0; k < n_virial; ++k) {
      const double value = sum(group, 0, group_lanes, n_parts, parts, k);
      group.once([&] { virial[virial_place(k)] += value; });
    }
  });
}

template <class Backend, class Real>
void sum_forces(const Backend& backend, const EdgeGradients<Real>& edges, const SentEdges& sent,
                const EdgeForces& out) {
  const auto row_virials = backend.template array<double>(n_virial * edges.n_rows);
  sum_rows(backend, edges, sent, out, row_virials.data());
  sum_virials(backend, edges.n_rows, row_virials.data(), out.virial);
}

}  // namespace distmlip::kernels
