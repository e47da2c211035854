// Rows that one partition shares with others, grouped by the other partition.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

namespace distmlip::partition {

/// Group g is [begin[g], begin[g + 1]) of some list of rows. Only partitions that share any have a group, so
/// that the lists of all partitions together are as long as the borders, however many partitions there are.
struct RowGroups {
  std::vector<int32_t> partner;      // (n_groups) ascending
  std::vector<int32_t> begin = {0};  // (n_groups + 1)

  int64_t n_groups() const { return static_cast<int64_t>(partner.size()); }

  /// The group of a partition; n_groups() if it has none.
  int64_t find(int32_t partition) const {
    const auto found = std::lower_bound(partner.begin(), partner.end(), partition);
    return found != partner.end() && *found == partition ? found - partner.begin() : n_groups();
  }

  /// visit(partner, begin, end): the rows of each group.
  template <class Visit>
  void for_each_group(Visit visit) const {
    for (size_t group = 0; group < partner.size(); ++group)
      visit(partner[group], begin[group], begin[group + 1]);
  }

  /// visit(partner, row)
  template <class Visit>
  void for_each(Visit visit) const {
    for_each_group([&](int32_t other, int32_t first, int32_t end) {
      for (int32_t row = first; row < end; ++row) visit(other, row);
    });
  }

  /// Groups rows by partition; rows of a group stay in their order. place[k]: where row k goes.
  static RowGroups of(const std::vector<int32_t>& partition, std::vector<int32_t>& place) {
    RowGroups groups;
    groups.partner = partition;
    std::sort(groups.partner.begin(), groups.partner.end());
    groups.partner.erase(std::unique(groups.partner.begin(), groups.partner.end()), groups.partner.end());
    place.resize(partition.size());
    groups.begin.assign(groups.partner.size() + 1, 0);
    for (size_t k = 0; k < partition.size(); ++k) {
      place[k] = static_cast<int32_t>(groups.find(partition[k]));
      ++groups.begin[place[k] + 1];
    }
    std::partial_sum(groups.begin.begin(), groups.begin.end(), groups.begin.begin());
    std::vector<int32_t> next(groups.begin.begin(), groups.begin.end() - 1);
    for (int32_t& row : place) row = next[row]++;
    return groups;
  }

  /// Adds `n_rows` rows to the group of the last partner, or of one after it.
  void append(int32_t partition, int32_t n_rows) {
    if (partner.empty() || partner.back() != partition) {
      partner.push_back(partition);
      begin.push_back(begin.back());
    }
    begin.back() += n_rows;
  }
};

}  // namespace distmlip::partition
