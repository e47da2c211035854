#include "neighbors/neighbor_list.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/thread_pool.h"

namespace distmlip::neighbors {
namespace {

constexpr int64_t atoms_per_task = 1000;

/// Bins need some radius, also for a cutoff of zero, which no pair is below.
double radius_for(double cutoff) { return cutoff > 0 ? cutoff : 1.0; }

}  // namespace

NeighborList::NeighborList(const double* positions, int64_t n_atoms, const Cell& cell, double cutoff,
                           bool self_interaction, int n_threads)
    : with_self_(self_interaction && cutoff > 0),
      n_threads_(n_threads > 0 ? n_threads : available_threads()),
      wrapped_(wrap(cell, positions, n_atoms, radius_for(cutoff), n_threads_)),
      bins_(sort_into_bins(cell, wrapped_, radius_for(cutoff), n_threads_)),
      rule_(cell, positions, wrapped_, bins_, kernels::squared_limit(cutoff)),
      first_pair_(n_atoms + 1, 0) {
  if (!(cutoff > 0)) return;
  std::vector<int32_t> ordinals(n_atoms);
  std::iota(ordinals.begin(), ordinals.end(), 0);
  rows_ = find_rows(bins_, rule_, ordinals.data(), n_atoms, n_threads_);
  row_of_atom_.resize(n_atoms);
  for (int64_t row = 0; row < n_atoms; ++row) {
    const int32_t atom = bins_.order[row];
    row_of_atom_[atom] = static_cast<int32_t>(row);
    first_pair_[atom + 1] = rows_.row_begin[row + 1] - rows_.row_begin[row] + with_self_;
  }
  std::partial_sum(first_pair_.begin(), first_pair_.end(), first_pair_.begin());
}

void NeighborList::write_atom(int64_t atom, int64_t row, const Output& output) const {
  const int64_t begin = rows_.row_begin[row], count = rows_.row_begin[row + 1] - begin;
  const int64_t first = first_pair_[atom];
  if (output.i) std::fill_n(output.i + first, count + with_self_, atom);
  if (with_self_) write_pair(atom, {}, first, output);
  for (int64_t k = 0; k < count; ++k) {
    const int64_t other = bins_.order[rows_.sender[begin + k]];
    write_pair(other, rule_.edge(atom, other, rows_.shift_code[begin + k]), first + with_self_ + k, output);
  }
}

void NeighborList::write_pair(int64_t other, const EdgeRule::Edge& edge, int64_t pair, const Output& output) {
  if (output.j) output.j[pair] = other;
  if (output.distance) output.distance[pair] = std::sqrt(edge.squared_length);
  if (output.vector) std::copy_n(edge.vector.begin(), 3, output.vector + 3 * pair);
  if (output.shift) std::copy_n(edge.shift, 3, output.shift + 3 * pair);
}

void NeighborList::write(const Output& output) const {
  const auto n_atoms = static_cast<int64_t>(row_of_atom_.size());
  parallel_for((n_atoms + atoms_per_task - 1) / atoms_per_task, n_threads_, [&](int64_t task, int) {
    const int64_t end = std::min(n_atoms, (task + 1) * atoms_per_task);
    for (int64_t atom = task * atoms_per_task; atom < end; ++atom)
      write_atom(atom, row_of_atom_[atom], output);
  });
}

}  // namespace distmlip::neighbors
