// Forces and virials from the gradients of edges: what edge_forces.h describes, on a device.
//
// Every row sums what it receives and what it sends by itself, in a fixed order: no two threads add to the
// same place, so the result is the same from run to run. The edges that a row sends are found by a list of
// all candidates by sender, which is made with the graph. Atomic additions would need no such list, but three
// to twelve of them per edge cost more than reading its gradient twice.
#pragma once

#include "kernels/device/sort_atoms.h"
#include "kernels/device/step.h"
#include "kernels/edge_forces.h"

namespace distmlip::kernels {

/// Candidates by sender, those of a sender ascending.
template <class Backend>
SenderRows sort_by_sender(const Backend& backend, const int32_t* senders, int64_t n_candidates,
                          int64_t n_local) {
  SenderRows out;
  auto keys = backend.template array<uint32_t>(n_candidates);
  out.candidate = backend.template array<int32_t>(n_candidates);
  uint32_t* key = keys.data();
  int32_t* candidates = out.candidate.data();
  backend.for_each(n_candidates, [=] DISTMLIP_DEVICE(int64_t k) {
    key[k] = static_cast<uint32_t>(senders[k]);
    candidates[k] = static_cast<int32_t>(k);
  });
  backend.sort(keys, out.candidate, static_cast<uint32_t>(n_local));
  out.row_begin = backend.template array<int64_t>(n_local + 1);
  int64_t* row_begin = out.row_begin.data();
  key = keys.data();
  backend.for_each(n_local + 1, [=] DISTMLIP_DEVICE(int64_t row) {
    row_begin[row] = count_below(key, n_candidates, static_cast<uint32_t>(row));
  });
  return out;
}

/// edge_of[candidate] = its edge, -1 if it is too long now.
template <class Backend>
void index_edges(const Backend& backend, int64_t n_candidates, const int32_t* candidate_of_edge,
                 int64_t n_edges, int32_t* edge_of) {
  backend.for_each(n_candidates, [=] DISTMLIP_DEVICE(int64_t k) { edge_of[k] = -1; });
  backend.for_each(n_edges, [=] DISTMLIP_DEVICE(int64_t edge) {
    edge_of[candidate_of_edge[edge]] = static_cast<int32_t>(edge);
  });
}

/// Three numbers of the force, nine of the virial.
constexpr int n_virial = 9;
constexpr int n_sums = 3 + n_virial;

template <class Real>
DISTMLIP_DEVICE inline void add_force(const EdgeGradients<Real>& edges, int64_t edge, double sign,
                                      double* sums) {
  for (int k = 0; k < 3; ++k) sums[k] += sign * static_cast<double>(edges.gradients[3 * edge + k]);
}

template <class Real>
DISTMLIP_DEVICE inline void add_virial(const EdgeGradients<Real>& edges, int64_t edge, double* sums) {
  for (int m = 0; m < 3; ++m) {
    const double length = edges.vectors[3 * edge + m];
    for (int k = 0; k < 3; ++k)
      sums[3 + 3 * m + k] -= length * static_cast<double>(edges.gradients[3 * edge + k]);
  }
}

/// Where the virial's number k stands in the rows of EdgeForces.
DISTMLIP_DEVICE inline int virial_place(int k) { return 4 * (k / 3) + k % 3; }

/// The sum over lanes of each of n_sums numbers.
template <class Backend, class Sums>
DISTMLIP_DEVICE inline void sum_lanes(const typename Backend::Group& group, const Sums& mine, double* total) {
  DISTMLIP_UNROLL
  for (int k = 0; k < n_sums; ++k) {
    typename Backend::template PerLane<double> values;
    group.each_lane([&](int lane) { values[lane] = mine[lane].of[k]; });
    total[k] = group.reduce(values, [](double a, double b) { return a + b; });
  }
}

struct Sums {
  double of[n_sums];
};

/// Adds forces, and virials where they are wanted; row_virials (n_rows, n_virial) gets those of the edges
/// that each row receives.
template <class Backend, class Real>
void sum_rows(const Backend& backend, const EdgeGradients<Real>& edges, const SentEdges& sent,
              const EdgeForces& out, double* row_virials) {
  using Group = typename Backend::Group;
  backend.for_each_group(sent.n_local, [=] DISTMLIP_DEVICE(const Group& group, int64_t row) {
    typename Backend::template PerLane<Sums> received, given;
    group.each_lane([&](int lane) {
      for (int k = 0; k < n_sums; ++k) received[lane].of[k] = given[lane].of[k] = 0;
      const int64_t end = row < edges.n_rows ? edges.row_begin[row + 1] : 0;
      for (int64_t edge = row < edges.n_rows ? edges.row_begin[row] + lane : 0; edge < end;
           edge += group_lanes) {
        add_force(edges, edge, 1.0, received[lane].of);
        add_virial(edges, edge, received[lane].of);
      }
      for (int64_t k = sent.row_begin[row] + lane; k < sent.row_begin[row + 1]; k += group_lanes) {
        const int32_t edge = sent.edge_of[sent.candidate[k]];
        if (edge < 0) continue;
        add_force(edges, edge, -1.0, given[lane].of);
        if (out.virials) add_virial(edges, edge, given[lane].of);
      }
    });
    double in[n_sums], from[n_sums];
    sum_lanes<Backend>(group, received, in);
    sum_lanes<Backend>(group, given, from);
    group.once([&] {
      for (int k = 0; k < 3; ++k) out.forces[4 * row + k] += in[k] + from[k];
      for (int k = 0; k < n_virial; ++k) {
        if (row < edges.n_rows) row_virials[n_virial * row + k] = in[3 + k];
        if (out.virials) out.virials[12 * row + virial_place(k)] += 0.5 * (in[3 + k] + from[3 + k]);
      }
    });
  });
}

/// virial (3, 4) += the sum over rows (n_rows, n_virial), in an order that depends on their number only.
template <class Backend>
void sum_virials(const Backend& backend, int64_t n_rows, const double* rows, double* virial) {
  using Group = typename Backend::Group;
  constexpr int64_t n_parts = 1024;
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
