#include "kernels/edge_forces.h"
#include "kernels/edge_forces_inline.h"

namespace distmlip::kernels {
namespace {

/// A row's sums are kept in registers: edges are sorted by receiver.
template <bool with_virials, class Real>
void accumulate_row(const EdgeGradients<Real>& edges, int64_t row, const EdgeForces& out, double* total) {
  double force[3]{}, row_virial[n_virial]{};
  for (int64_t edge = edges.row_begin[row]; edge < edges.row_begin[row + 1]; ++edge) {
    const int64_t sender = edges.senders[edge];
    double gradient[3], virial[n_virial];
    for (int k = 0; k < 3; ++k) {
      gradient[k] = edges.gradients[3 * edge + k];
      force[k] += gradient[k];
      out.forces[3 * sender + k] -= gradient[k];
    }
    edge_virial(edges.vectors + 3 * edge, gradient, virial);
    for (int64_t k = 0; k < n_virial; ++k) {
      row_virial[k] += virial[k];
      if constexpr (with_virials) out.virials[n_virial * sender + k] += 0.5 * virial[k];
    }
  }
  for (int k = 0; k < 3; ++k) out.forces[3 * row + k] += force[k];
  for (int64_t k = 0; k < n_virial; ++k) {
    total[k] += row_virial[k];
    if constexpr (with_virials) out.virials[n_virial * row + k] += 0.5 * row_virial[k];
  }
}

template <bool with_virials, class Real>
void accumulate(const EdgeGradients<Real>& edges, const EdgeForces& out) {
  double total[n_virial]{};
  for (int64_t row = 0; row < edges.n_rows; ++row) accumulate_row<with_virials>(edges, row, out, total);
  for (int64_t k = 0; k < n_virial; ++k) out.virial[k] += total[k];
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
