#include "kernels/edge_forces.h"
#include "kernels/edge_forces_inline.h"

namespace distmlip::kernels {

void accumulate_forces(int64_t n_edges, const int64_t* receivers, const int64_t* senders,
                       const double* vectors, const double* gradients, double* forces, double* virials) {
  const auto add = [](double* target, double value) { *target += value; };
  for (int64_t edge = 0; edge < n_edges; ++edge) {
    accumulate_edge(receivers[edge], senders[edge], vectors + 3 * edge, gradients + 3 * edge, forces, virials,
                    add);
  }
}

}  // namespace distmlip::kernels
