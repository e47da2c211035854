#include "graph/bond_graph.h"

namespace distmlip::graph {
namespace {

/// Index of the edge sender → receiver with this shift, or -1.
int64_t find_edge(const EdgeRows& rows, int32_t receiver, int32_t sender, int32_t shift_code) {
  const int64_t end = rows.row_begin[receiver + 1];
  for (int64_t edge = rows.row_begin[receiver]; edge < end; ++edge) {
    if (rows.sender[edge] == sender && rows.shift_code[edge] == shift_code) return edge;
  }
  return -1;
}

}  // namespace

Buffer<int32_t> find_reverse_edges(const EdgeRows& rows) {
  Buffer<int32_t> reverse(rows.row_begin[rows.n_rows], -1);
  const auto last_code = static_cast<int32_t>(rows.n_codes - 1);
  for (int32_t receiver = 0; receiver < rows.n_rows; ++receiver) {
    for (int64_t edge = rows.row_begin[receiver]; edge < rows.row_begin[receiver + 1]; ++edge) {
      const int32_t sender = rows.sender[edge];
      if (sender >= rows.n_rows || reverse[edge] >= 0) continue;
      const int64_t other = find_edge(rows, sender, receiver, last_code - rows.shift_code[edge]);
      if (other < 0) continue;
      reverse[edge] = static_cast<int32_t>(other);
      reverse[other] = static_cast<int32_t>(edge);
    }
  }
  return reverse;
}

void append_angles(const int64_t* edges, int64_t begin, int64_t end, int64_t* angles) {
  for (int64_t first = begin; first < end; ++first) {
    for (int64_t second = begin; second < end; ++second) {
      if (first == second) continue;
      *angles++ = edges[first];
      *angles++ = edges[second];
    }
  }
}

}  // namespace distmlip::graph
