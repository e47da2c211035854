// A few of many atoms, spread evenly.
#pragma once

#include <cstdint>

#include "core/buffer.h"
#include "cut/input.h"

namespace distmlip::cut {

/// One atom out of each run of `stride` atoms (the last run may be longer), with the weight of the whole run.
struct Sample {
  /// size: wanted number of atoms, >= 1; there must be an atom.
  Sample(const Input& input, int64_t size);

  int64_t size() const { return static_cast<int64_t>(atom.size()); }
  /// The sample as if it were all there is.
  Input view(const Input& input) const;

  int64_t stride;
  Buffer<int32_t> atom;
  Buffer<float> x, y, z, weights;
};

}  // namespace distmlip::cut
