// Atoms of a system that no process knows as a whole.
#pragma once

#include <cstdint>
#include <vector>

#include "cut/cut.h"

namespace distmlip::partition {

/// The atoms that one process knows: the first n_own are its own, as somebody else has chosen; then, each
/// once, those of other processes that may be near them. Where atoms are given by their number, it is that
/// among these.
struct SharedAtoms {
  int64_t n_own = 0;
  std::vector<int64_t> tags;                    // (n_atoms) the same for an atom in every process
  std::vector<int64_t> rows;                    // (n_atoms) its number in the process that owns it
  std::vector<int32_t> owner;                   // (n_atoms) partition
  cut::Method method = cut::Method::automatic;  // by which its own were cut
};

}  // namespace distmlip::partition
