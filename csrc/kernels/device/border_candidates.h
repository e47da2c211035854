// Which candidates of a partition can become bonds across its border.
#pragma once

#include "kernels/device/filter_edges.h"
#include "kernels/device/read_numbers.h"

namespace distmlip::kernels {

/// Row by row, those whose squared length is at most request.bond_limit.
template <class Backend>
Array<BorderCandidate> border_candidates(const Backend& backend, const FilterRequest& from) {
  using Group = typename Backend::Group;
  const FilterRequest request = from;
  const CandidateRows rows = request.rows;
  const auto holds = [=] DISTMLIP_DEVICE(int64_t row, int64_t candidate) {
    if (candidate >= rows.row_begin[row + 1] || rows.sender[candidate] < request.n_rows) return false;
    double vector[3];
    edge_vector(request.table, request.atoms[row], request.atoms[rows.sender[candidate]],
                rows.shift_code[candidate], vector);
    return squared_length(vector[0], vector[1], vector[2]) <= request.bond_limit;
  };
  const auto count_array = backend.template array<int32_t>(request.n_rows);
  const auto begin_array = backend.template array<int64_t>(request.n_rows + 1);
  int32_t* count = count_array.data();
  int64_t* begin = begin_array.data();
  backend.for_each_group(request.n_rows, [=] DISTMLIP_DEVICE(const Group& group, int64_t row) {
    int32_t n = 0;
    for (int64_t first = rows.row_begin[row]; first < rows.row_begin[row + 1]; first += group_lanes)
      n += count_bits(group.ballot([&](int lane) { return holds(row, first + lane); }));
    group.once([&] { count[row] = n; });
  });
  const auto result = backend.template array<BorderCandidate>(scan(backend, count, request.n_rows, begin));
  BorderCandidate* to = result.data();
  backend.for_each_group(request.n_rows, [=] DISTMLIP_DEVICE(const Group& group, int64_t row) {
    int64_t next = begin[row];
    for (int64_t first = rows.row_begin[row]; first < rows.row_begin[row + 1]; first += group_lanes) {
      const uint32_t mask = group.ballot([&](int lane) { return holds(row, first + lane); });
      group.each(mask, [&](int lane, int nth) {
        const int64_t k = first + lane;
        to[next + nth] = {static_cast<int32_t>(row), static_cast<int32_t>(k), rows.sender[k],
                          rows.shift_code[k]};
      });
      next += count_bits(mask);
    }
  });
  return result;
}

}  // namespace distmlip::kernels
