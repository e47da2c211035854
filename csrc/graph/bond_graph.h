// Which edges are two directions of one bond, and which bonds meet in an angle.
#pragma once

#include <cstdint>
#include <vector>

#include "core/buffer.h"

namespace distmlip::graph {

/// Edges by receiver: those of receiver r are [row_begin[r], row_begin[r + 1]).
struct EdgeRows {
  int64_t n_rows;
  const int64_t* row_begin;
  const int32_t* sender;
  const uint16_t* shift_code;
  int64_t n_codes;  // the code of the opposite shift is n_codes − 1 − code
};

/// For every edge the index of its reverse; -1 where there is none (its sender is not among the rows).
Buffer<int32_t> find_reverse_edges(const EdgeRows& rows);

/// Appends all ordered pairs of different elements of edges[begin, end) to `angles`.
void append_angles(const int64_t* edges, int64_t begin, int64_t end, int64_t* angles);

}  // namespace distmlip::graph
