// The inner loop of the neighbour search.
#pragma once

#include <cstdint>

namespace distmlip::kernels {

constexpr int64_t filter_lanes = 16;

/// Atoms and periodic copies of atoms as structure of arrays. All arrays are readable, and those that are
/// written are writable, for filter_lanes elements beyond their end.
template <class Real, class Index, class Code>
struct Places {
  Real *x, *y, *z;   // Å
  Index* ordinal;    // which atom
  Code* shift_code;  // which periodic image of it
};
using Slots = Places<const float, const int32_t, const uint16_t>;
using PackedSlots = Places<float, int32_t, uint16_t>;

/// Slots in a row: [begin, end).
struct Run {
  int32_t begin, end;
};

/// Everything within reach of a bin, run after run, padded to a multiple of filter_lanes with places that are
/// infinitely far away.
struct Candidates {
  PackedSlots slots;
  int64_t n_padded;
  bool one_image;  // whether all have the first one's shift code, as in nearly all bins
};

/// All squared distances below `inner` belong to pairs within the cutoff, all from `outer` on to pairs that
/// are not; in between, float32 cannot tell.
struct SquaredLimits {
  float inner, outer;
};

/// What is found around one atom; both arrays are written up to filter_lanes elements beyond the last hit.
struct Hits {
  int32_t* ordinal;
  uint16_t* shift_code;
};

struct HitCount {
  int64_t n;
  bool undecided;  // whether any hit lies between the limits
};

/// Numbers of rows by ordinal; those that have none yet are negative and get the next one.
struct RowNumbers {
  int32_t* of_ordinal;
  int32_t next;
  int32_t* newcomers;  // ordinals in the order of their numbers, from here on
};

/// The steps of a search, for one instruction set.
struct Filter {
  /// Copies the runs next to each other and pads them; `to` has room for them.
  Candidates (*pack)(const Slots& from, const Run* runs, int64_t n_runs, const PackedSlots& to);
  /// Copies ordinal and shift code of every candidate that is nearer to candidate `centre` than the outer
  /// limit, without the centre itself, in their order.
  HitCount (*around)(const Candidates& candidates, int64_t centre, SquaredLimits limits, Hits hits);
  /// Replaces ordinals[0 … n) by row numbers; returns the next number. There must be room for n newcomers.
  int32_t (*number)(const RowNumbers& rows, int32_t* ordinals, int64_t n);
};

/// The one of the instruction set in use (kernels/simd.h): all give the same results.
Filter distance_filter();

}  // namespace distmlip::kernels
