#include <cstring>

#include "kernels/edge_forces.h"
#include "kernels/lanes.h"

namespace distmlip::kernels {
namespace {

__attribute__((always_inline)) inline void add(double* row, const Lanes& lanes) {
  Lanes sum;
  std::memcpy(&sum, row, sizeof(sum));
  sum += lanes;
  std::memcpy(row, &sum, sizeof(sum));
}

/// A row's sums are kept in registers: edges are sorted by receiver.
template <bool with_virials, class Real>
DISTMLIP_CLONES void accumulate(const EdgeGradients<Real>& given, const EdgeForces& out) {
  const EdgeGradients<Real> edges = given;  // a copy, which what is written cannot change
  // Gradients are loaded four numbers at a time, of which the last belongs to the next edge.
  const int64_t last_edge = edges.row_begin[edges.n_rows] - 1;
  Real last_gradient[4] = {};
  if (last_edge >= 0) std::memcpy(last_gradient, edges.gradients + 3 * last_edge, 3 * sizeof(Real));
  Lanes total[3] = {};
  for (int64_t row = 0; row < edges.n_rows; ++row) {
    Lanes force = {}, virial[3] = {};
    for (int64_t edge = edges.row_begin[row]; edge < edges.row_begin[row + 1]; ++edge) {
      const int64_t sender = edges.senders[edge];
      RealLanes<Real> loaded;
      std::memcpy(&loaded, edge == last_edge ? last_gradient : edges.gradients + 3 * edge, sizeof(loaded));
      const Lanes gradient = __builtin_convertvector(loaded, Lanes);
      force += gradient;
      add(out.forces + 4 * sender, -gradient);
      for (int k = 0; k < 3; ++k) {
        const Lanes share = gradient * static_cast<double>(edges.vectors[3 * edge + k]);
        virial[k] -= share;
        if constexpr (with_virials) add(out.virials + 12 * sender + 4 * k, -0.5 * share);
      }
    }
    add(out.forces + 4 * row, force);
    for (int k = 0; k < 3; ++k) {
      total[k] += virial[k];
      if constexpr (with_virials) add(out.virials + 12 * row + 4 * k, 0.5 * virial[k]);
    }
  }
  for (int k = 0; k < 3; ++k) add(out.virial + 4 * k, total[k]);
}

}  // namespace

template <class Real>
void accumulate_forces(const EdgeGradients<Real>& edges, const EdgeForces& out) {
  if (out.virials)
    accumulate<true>(edges, out);
  else
    accumulate<false>(edges, out);
}

template void accumulate_forces<float>(const EdgeGradients<float>&, const EdgeForces&);
template void accumulate_forces<double>(const EdgeGradients<double>&, const EdgeForces&);

}  // namespace distmlip::kernels
