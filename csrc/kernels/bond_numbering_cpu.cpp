#include <stdexcept>

#include "kernels/bond_numbering.h"

namespace distmlip::kernels {
namespace {

class ReverseEdges {
 public:
  ReverseEdges(const BondRows& rows, int32_t* hints) : rows_(rows), hints_(hints) {}

  /// The reverse of an edge sender → receiver, which is in the row of the sender.
  int64_t find(int64_t receiver, int64_t sender, int32_t shift_code) {
    const int64_t begin = rows_.row_begin[sender], end = rows_.row_begin[sender + 1];
    const auto opposite = static_cast<int32_t>(rows_.n_codes - 1 - shift_code);
    // Rows are asked for in ascending order, and the senders of a row are a few ascending runs: the edge
    // looked for nearly always is the next one that has not been asked for.
    int64_t edge = begin + hints_[sender];
    while (edge < end && !is_asked_for(sender, edge)) ++edge;
    if (edge == end || !is(edge, receiver, opposite)) {
      edge = begin;
      while (edge < end && !is(edge, receiver, opposite)) ++edge;
      if (edge == end) throw std::logic_error("an edge has no reverse");
    }
    hints_[sender] = static_cast<int32_t>(edge + 1 - begin);
    return edge;
  }

 private:
  bool is_asked_for(int64_t row, int64_t edge) const {
    return rows_.senders[edge] >= row && rows_.senders[edge] < rows_.n_rows;
  }

  bool is(int64_t edge, int64_t sender, int32_t shift_code) const {
    return rows_.senders[edge] == sender && rows_.shift_code[rows_.candidate[edge]] == shift_code;
  }

  const BondRows& rows_;
  int32_t* hints_;
};

}  // namespace

int64_t count_bonds(int64_t n_rows, const int64_t* row_begin, const int64_t* senders) {
  int64_t n_first = 0, n_own_images = 0;
  for (int64_t row = 0; row < n_rows; ++row) {
    for (int64_t edge = row_begin[row]; edge < row_begin[row + 1]; ++edge) {
      n_first += senders[edge] > row;
      n_own_images += senders[edge] == row;
    }
  }
  return n_first + n_own_images / 2;
}

void number_bonds(const BondRows& rows, int32_t* hints, int64_t* edge_bond, int64_t* bond_edge) {
  ReverseEdges reverses(rows, hints);
  int64_t n_bonds = 0;
  for (int64_t row = 0; row < rows.n_rows; ++row) {
    for (int64_t edge = rows.row_begin[row]; edge < rows.row_begin[row + 1]; ++edge) {
      const int64_t sender = rows.senders[edge];
      if (sender <= row) {
        const int64_t reverse = reverses.find(row, sender, rows.shift_code[rows.candidate[edge]]);
        if (reverse < edge) {
          edge_bond[edge] = edge_bond[reverse];
          continue;
        }
      }
      bond_edge[n_bonds] = edge;
      edge_bond[edge] = n_bonds++;
    }
  }
}

void expand_angles(int64_t n_rows, const int64_t* row_begin, const int32_t* edges, int64_t* angles) {
  for (int64_t row = 0; row < n_rows; ++row) {
    const int64_t begin = row_begin[row], end = row_begin[row + 1];
    for (int64_t first = begin; first < end; ++first) {
      const auto write = [&](int64_t from, int64_t to) {
        for (int64_t second = from; second < to; ++second, angles += 2) {
          angles[0] = edges[first];
          angles[1] = edges[second];
        }
      };
      write(begin, first);
      write(first + 1, end);
    }
  }
}

}  // namespace distmlip::kernels
