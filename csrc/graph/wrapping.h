// Atoms moved into the cell by whole cell vectors.
#pragma once

#include <cstdint>
#include <vector>

#include "core/cell.h"

namespace distmlip::graph {

/// How many cells each atom lies outside: (n_atoms, 3), zero along axes that are not periodic.
/// Throws std::invalid_argument if a position is not finite or absurdly far away.
std::vector<int32_t> wrap_counts(const Cell& cell, const double* positions, int64_t n_atoms);

/// wrapped = position − wrap · cell, per atom and in one fixed order of operations.
void subtract_wrap(const Cell& cell, const int32_t* wrap, const double* positions, int64_t n_atoms,
                   double* wrapped);

}  // namespace distmlip::graph
