// Which process owns an atom that is known by its tag only.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "exchange/group.h"

namespace distmlip::exchange {

/// Of atoms that other processes may own, in the order in which they were asked for.
struct Owners {
  std::vector<int64_t> ranks;  ///< -1: nobody has it
  std::vector<int64_t> rows;   ///< the number that the atom has among the owner's
};

/// `own`: tags of this process's atoms, which are numbered in this order; `wanted`: tags. Every rank asks at
/// the same time. Each keeps the whereabouts of some tags meanwhile, so that none has those of all.
Owners find_owners(RankGroup& ranks, std::span<const int64_t> own, std::span<const int64_t> wanted);

/// What owners say of atoms, (n, width), in the order of `owners`: `answer(row)` writes what this process
/// says of its own. Every rank asks at the same time. Atoms that nobody has get zeros.
std::vector<double> ask_owners(RankGroup& ranks, const Owners& owners, int64_t width,
                               const std::function<void(int64_t row, double* to)>& answer);

}  // namespace distmlip::exchange
