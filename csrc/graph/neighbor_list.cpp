#include "graph/neighbor_list.h"

#include <algorithm>
#include <cmath>

#include "graph/bins.h"
#include "graph/neighbor_search.h"
#include "graph/wrapping.h"
#include "kernels/edge_geometry.h"

namespace distmlip::graph {
namespace {

/// Wrapping rounds: a pair must be found by its wrapped positions even if only the given ones are within
/// the cutoff.
double wrapping_margin(const double* positions, int64_t n_atoms) {
  double largest = 0;
  for (int64_t k = 0; k < 3 * n_atoms; ++k) largest = std::max(largest, std::abs(positions[k]));
  return std::ldexp(largest, -48);
}

}  // namespace

NeighborList::NeighborList(const double* positions, int64_t n_atoms, const Cell& cell, double cutoff,
                           bool self_interaction)
    : positions_(positions),
      n_atoms_(n_atoms),
      cell_(cell),
      squared_limit_(kernels::squared_limit(cutoff)),
      cutoff_(cutoff),
      self_interaction_(self_interaction) {
  search();
  count_pairs();
}

void NeighborList::search() {
  wrap_ = wrap_counts(cell_, positions_, n_atoms_);
  std::vector<double> wrapped(3 * n_atoms_);
  subtract_wrap(cell_, wrap_.data(), positions_, n_atoms_, wrapped.data());
  const double radius = cutoff_ + wrapping_margin(positions_, n_atoms_);
  const Bins bins = sort_into_bins(cell_, wrapped.data(), n_atoms_, radius);
  shifts_ = bins.shifts;
  row_.resize(n_atoms_);
  row_length_.resize(n_atoms_);
  NeighborSearch near(bins);
  int64_t n_candidates = 0;
  for (int64_t slot = 0; slot < static_cast<int64_t>(bins.atom.size()); ++slot) {
    const int32_t atom = bins.atom[slot];
    if (bins.slot[atom] != slot) continue;
    const auto hits = near.around(atom);
    const int64_t needed = n_candidates + static_cast<int64_t>(hits.size());
    if (needed > static_cast<int64_t>(candidates_.size())) candidates_.resize(needed + needed / 2 + 1024);
    row_[atom] = n_candidates;
    for (const int32_t hit : hits) {
      candidates_[n_candidates] = {bins.atom[hit], bins.shift_code[hit]};
      n_candidates += hit != slot;
    }
    row_length_[atom] = static_cast<int32_t>(n_candidates - row_[atom]);
  }
}

/// visit(j, shift, vector, squared distance) for the pairs of `atom`.
template <class Visit>
void NeighborList::for_each_pair(int64_t atom, Visit visit) const {
  const int32_t* wrap = wrap_.data() + 3 * atom;
  const double* from = positions_ + 3 * atom;
  for (int64_t k = row_[atom]; k < row_[atom] + row_length_[atom]; ++k) {
    const Candidate& candidate = candidates_[k];
    const int32_t* coded = shifts_.data() + 3 * candidate.code;
    const int32_t* other_wrap = wrap_.data() + 3 * static_cast<int64_t>(candidate.atom);
    const int32_t shift[3] = {coded[0] - other_wrap[0] + wrap[0], coded[1] - other_wrap[1] + wrap[1],
                              coded[2] - other_wrap[2] + wrap[2]};
    const Vec3 offset = shift_vector(cell_, shift);
    const double* to = positions_ + 3 * static_cast<int64_t>(candidate.atom);
    const Vec3 vector{kernels::edge_component(to[0], from[0], offset[0]),
                      kernels::edge_component(to[1], from[1], offset[1]),
                      kernels::edge_component(to[2], from[2], offset[2])};
    const double squared = kernels::squared_length(vector[0], vector[1], vector[2]);
    if (squared < squared_limit_) visit(candidate.atom, shift, vector, squared);
  }
}

void NeighborList::count_pairs() {
  first_pair_.resize(n_atoms_ + 1);
  const bool with_self = self_interaction_ && squared_limit_ > 0;
  for (int64_t atom = 0; atom < n_atoms_; ++atom) {
    int64_t count = with_self;
    for_each_pair(atom, [&](int32_t, const int32_t*, const Vec3&, double) { ++count; });
    first_pair_[atom + 1] = first_pair_[atom] + count;
  }
}

void NeighborList::write(const Output& output) const {
  const bool with_self = self_interaction_ && squared_limit_ > 0;
  for (int64_t atom = 0; atom < n_atoms_; ++atom) {
    int64_t pair = first_pair_[atom];
    const auto put = [&](int64_t j, const int32_t* shift, const Vec3& vector, double squared) {
      if (output.i) output.i[pair] = atom;
      if (output.j) output.j[pair] = j;
      if (output.distance) output.distance[pair] = std::sqrt(squared);
      for (int k = 0; output.vector && k < 3; ++k) output.vector[3 * pair + k] = vector[k];
      for (int k = 0; output.shift && k < 3; ++k) output.shift[3 * pair + k] = shift[k];
      ++pair;
    };
    const int32_t no_shift[3] = {0, 0, 0};
    if (with_self) put(atom, no_shift, Vec3{0, 0, 0}, 0.0);
    for_each_pair(atom, put);
  }
}

}  // namespace distmlip::graph
