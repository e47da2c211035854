#include "graph/bond_graph.h"

namespace distmlip::graph {

Buffer<int32_t> find_reverse_edges(const EdgeRows& rows) {
  Buffer<int32_t> reverse(rows.row_begin[rows.n_rows], -1);
  for (int64_t receiver = 0; receiver < rows.n_rows; ++receiver) {
    for (int64_t edge = rows.row_begin[receiver]; edge < rows.row_begin[receiver + 1]; ++edge) {
      const int32_t sender = rows.sender[edge];
      if (sender >= rows.n_rows || reverse[edge] >= 0) continue;
      const int64_t opposite = rows.n_codes - 1 - rows.shift_code[edge];
      for (int64_t other = rows.row_begin[sender]; other < rows.row_begin[sender + 1]; ++other) {
        if (rows.sender[other] == receiver && rows.shift_code[other] == opposite) {
          reverse[edge] = static_cast<int32_t>(other);
          reverse[other] = static_cast<int32_t>(edge);
          break;
        }
      }
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
