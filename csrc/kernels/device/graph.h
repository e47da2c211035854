// What algorithms for devices hand to each other. Ordinals number atoms in the order of their bins.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "kernels/device/array.h"
#include "kernels/device/grid.h"
#include "kernels/edge_filter.h"

namespace distmlip::kernels {

constexpr int64_t most_slots = std::numeric_limits<int32_t>::max() - 64;

/// Along every periodic axis, which of so many equal shares of the cell hold atoms.
constexpr int32_t wrap_shares = 4096;

constexpr int32_t no_atom = std::numeric_limits<int32_t>::max();

struct WrapRequest {
  int64_t n_atoms;
  double to_fractional[9];  // rows b_k with fractional_k = b_k · x
  double cell[9];           // rows, Å
  bool periodic[3];
  double farthest_allowed;  // Å, and cells
};

/// How far the atoms extend, on the host; of wrapped positions.
struct AtomExtent {
  double cartesian_low[3]{}, cartesian_high[3]{};    // Å
  double fractional_low[3]{}, fractional_high[3]{};  // of the cell
  double farthest = 0;                               // Å, largest absolute coordinate as given
  std::vector<uint8_t> occupied;                     // (3, wrap_shares) by periodic axes
  int32_t refused = no_atom;                         // the first atom that is not finite or too far away
};

struct WrappedAtoms {
  Array<int32_t> counts;    // (n_atoms, 3) whole cells that were taken away
  Array<double> positions;  // (n_atoms, 3) Å, position − counts · cell
  AtomExtent extent;
};

/// Atoms in shares before the first one of an axis belong to the end of the cell.
struct LiftRequest {
  int32_t first_share[3];
};

/// Layers of one axis, of whose row of `to_fractional` this is a copy.
struct LayerRequest {
  double to_fractional[3];
  Squeeze layers;  // n, origin, per_unit
};

/// An atom or a copy of one, in a form that is loaded at once.
struct alignas(16) Point {
  float x, y, z;  // Å, relative to Grid::middle, rounded
  int32_t ordinal;
};

/// Atoms sorted into bins, as in neighbors/bins.h.
struct SortedAtoms {
  Grid grid;
  int64_t n_atoms = 0, n_slots = 0;
  Array<int64_t> begin;        // (n_bins + 1) first slot of each bin
  Array<int32_t> order;        // (n_atoms) the atom of each ordinal
  Array<uint32_t> bin;         // (n_atoms) the bin of each ordinal
  Array<int32_t> slot;         // (n_atoms) the slot of each ordinal itself; ascending
  Array<Point> points;         // (n_slots)
  Array<uint16_t> shift_code;  // (n_slots)
};

/// Which pairs are edges: decided in float64, from positions as given.
struct EdgeRule {
  const double* positions;  // (n_atoms, 3) Å
  const int32_t* wrap;      // (n_atoms, 3) counts of whole cells; null if the positions are wrapped
  double squared_limit;     // Å^2; edges are shorter

  /// Shift and vector of the edge between two atoms; returns its squared length.
  DISTMLIP_DEVICE double edge(const Grid& grid, int64_t receiver, int64_t sender, int32_t code,
                              int32_t* shift, double* vector) const {
    grid.shift_of(code, shift);
    for (int k = 0; k < 3 && wrap; ++k) shift[k] = shift[k] - wrap[3 * sender + k] + wrap[3 * receiver + k];
    for (int k = 0; k < 3; ++k) {
      vector[k] = edge_component(positions[3 * sender + k], positions[3 * receiver + k],
                                 shift_component(grid.cell, shift, k));
    }
    return squared_length(vector[0], vector[1], vector[2]);
  }

  DISTMLIP_DEVICE bool holds(const Grid& grid, int64_t receiver, int64_t sender, int32_t code) const {
    int32_t shift[3];
    double vector[3];
    return edge(grid, receiver, sender, code, shift, vector) < squared_limit;
  }
};

constexpr int rows_per_task = 8;

/// Edges by receiver as bits, and where their rows will begin. Rows are taken a task at a time: atoms of one
/// bin, which have the same candidates. A block is 32 candidates in slots next to each other.
struct EdgeMasks {
  Array<int32_t> first_row;    // (n_tasks + 1) of each task
  Array<int64_t> block_begin;  // (n_tasks + 1) first block of each task
  Array<int32_t> block_slot;   // (n_blocks) first candidate
  Array<uint32_t> masks;       // by task, row, block; bit k: candidate k is a neighbour of the row's atom
  Array<int64_t> row_begin;    // (n_rows + 1) first edge of each row
  int64_t n_edges = 0;

  int64_t n_tasks() const { return first_row.size - 1; }
  int64_t n_rows() const { return row_begin.size - 1; }
};

/// Where the pairs of a neighbour list go; null where they are not wanted.
template <class Real>
struct PairArrays {
  int64_t *i, *j;  // (n_pairs)
  Real* distance;  // (n_pairs) Å
  Real* vector;    // (n_pairs, 3) Å
  int32_t* shift;  // (n_pairs, 3)
  // In few bytes: j, and the code of the shift between wrapped atoms.
  int32_t* sender;       // (n_pairs)
  uint16_t* shift_code;  // (n_pairs)
};

/// Which partition's rows are wanted.
struct LocalRequest {
  const int32_t* owner;  // (n_atoms) of each atom
  int32_t n_partitions, partition;
};

/// Candidate edges of one partition, as in partition/local_candidates.h.
struct LocalRows {
  Array<int32_t> owned, halo;  // atoms; halo grouped by owner
  Array<int64_t> row_begin;    // (n_owned + 1)
  Array<int32_t> sender;       // (n_candidates) local row
  Array<uint16_t> shift_code;  // (n_candidates)

  int64_t n_owned() const { return owned.size; }
  int64_t n_local() const { return owned.size + halo.size; }
  int64_t n_candidates() const { return sender.size; }
  CandidateRows candidates() const { return {row_begin.data(), sender.data(), shift_code.data()}; }
};

}  // namespace distmlip::kernels
