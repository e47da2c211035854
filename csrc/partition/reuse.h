// How long the candidates of a decomposition stay valid.
#pragma once

#include <cstdint>

#include "core/cell.h"

namespace distmlip::partition {

struct Decomposition;

/// Whether the candidates hold every edge and bond of these positions (n_atoms, 3) in this cell: the same
/// number of atoms and periodic directions, and no pair can have come nearer by more than the skin.
///
/// Let F = 1 + Σ b_k ⊗ Δa_k over periodic directions, with the changes Δa_k of the cell vectors and the rows
/// b_k of the inverse cell: it takes the cell of the candidates to the present one. With u_i the way of atom
/// i from where F takes its reference position, a pair at vector v then is at v·F + u_j − u_i. This is at
/// least s·|v| − 2 max|u| long, with s the smallest stretch of F. So no pair that was at least cutoff + skin
/// apart is within the cutoff while 2 max|u| <= s·(cutoff + skin) − cutoff; the same must hold for the bond
/// cutoff.
bool still_valid(const Decomposition& decomposition, const double* positions, int64_t n_atoms,
                 const Cell& cell);

}  // namespace distmlip::partition
