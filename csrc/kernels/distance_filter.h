// The inner loop of the neighbour search.
#pragma once

#include <cstdint>

namespace distmlip::kernels {

/// Structure-of-arrays coordinates.
struct Coordinates {
  const float* x;
  const float* y;
  const float* z;
};

/// Slots in a row: [begin, end).
struct Run {
  int32_t begin, end;
};

/// hits[n] must be writable for this many n beyond the number of hits.
constexpr int32_t filter_slack = 16;

/// Writes to `hits`, in ascending order within each run, every slot of the runs whose squared distance
/// from the point is below `limit`. Returns how many there are. The coordinate arrays must be readable
/// for filter_slack elements beyond the last run.
int64_t filter_within(const Coordinates& coordinates, const Run* runs, int64_t n_runs, float x, float y,
                      float z, float limit, int32_t* hits);

}  // namespace distmlip::kernels
