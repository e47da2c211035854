// Forces and virials from the gradients of the energy with respect to edge vectors.
#pragma once

#include <cstdint>

namespace distmlip::kernels {

/// The edges of one partition, by receiver: those of local row r are [row_begin[r], row_begin[r + 1]).
template <class Real>
struct EdgeGradients {
  int64_t n_rows;
  const int64_t* row_begin;
  const int64_t* senders;  // local rows
  const Real* vectors;     // (n_edges, 3)
  const Real* gradients;   // (n_edges, 3) dE/dvector
};

/// Sums in float64; everything is added to what is there. Rows of three numbers are followed by a fourth,
/// which means nothing, so that they are loaded and stored at once.
struct EdgeForces {
  static constexpr int64_t force_width = 4, virial_width = 12;  // numbers of a row

  double* forces;   // (n_local, 4)
  double* virial;   // (3, 4) of all edges
  double* virials;  // (n_local, 3, 4): half of each edge's to either end; null if not wanted
};

/// For every edge with gradient g: forces[receiver] += g, forces[sender] -= g, and its virial is −vector ⊗ g,
/// of which only the symmetric part has a meaning. On a device: device_kernels.h.
template <class Real>
void accumulate_forces(const EdgeGradients<Real>& edges, const EdgeForces& out);

}  // namespace distmlip::kernels
