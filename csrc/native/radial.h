// Functions of an edge's length (and, where the model says so, of its species): by tables or exactly.
#pragma once

#include <optional>
#include <vector>

#include "native/cells.h"
#include "native/edge_block.h"
#include "native/radial_basis.h"

namespace distmlip::native {

/// Functions in groups of columns (the channels of a path), each padded.
struct RadialTables {
  int n_coefficients;
  std::vector<int> columns;   ///< of each group
  std::vector<int> of_pair;   ///< table of each species pair; one entry: the same for all
  std::vector<Matrix> cells;  ///< [table][cell]: (n_coefficients, Σ columns)
};

/// A network on a basis: layers (in, out), or (in + 1, out) with a bias as last row; with silu between, and
/// after the last one.
struct RadialNetwork {
  enum class Functions {
    groups,  ///< of the last layer's numbers, through the matrices (hidden, columns) of each group
    hidden,  ///< those numbers themselves, times `damping`
    density  ///< tanh(x²) of its only number x, which has no silu
  };
  RadialBasis basis;
  std::vector<Matrix> layers;
  double silu_factor;
  Functions functions = Functions::groups;
  std::vector<Matrix> groups = {};
  std::vector<int> columns = {};  ///< of groups of hidden numbers, padded; none: all in one group
  Envelope damping = {Envelope::Kind::none};
};

/// Of a group.
struct Columns {
  int first;  ///< a multiple of the operators' panel width
  int n;
  int per;  ///< rows of an edge: 1, values; 2, values and derivatives
};

template <class T>
class Radial {
 public:
  Radial(const Operators<T>& operators, const Cells& cells, const RadialTables& tables);
  Radial(const Operators<T>& operators, RadialNetwork network);

  bool is_exact() const { return network_.has_value(); }
  size_t n_groups() const { return groups_.size(); }
  int columns(size_t group) const { return groups_.at(group).columns; }  ///< padded

  /// Elements that exact functions keep of an undirected pair: what the groups' matrices are applied to, and
  /// its derivative.
  int64_t pair_size() const { return 2 * hidden_; }
  void evaluate_pairs(int64_t n, const double* lengths, const int32_t* species_pairs, T* kept) const;

  /// Whether functions differ by species pair.
  bool reads_species() const { return of_pair_.size() > 1; }
  /// A number of this cell of tables of this species pair.
  int cell_of(int cell, int species_pair) const {
    return reads_species() ? of_pair_[static_cast<size_t>(species_pair)] * n_cells_ + cell : cell;
  }
  size_t n_table_cells() const { return n_table_cells_; }
  int n_coefficients() const { return n_coefficients_; }

  /// Rows [edge][per] of all edges of a block. `kept`: of all pairs of the partition.
  void weights(EdgeBlock<T>& edges, size_t group, const Columns& columns, const T* kept, T* to,
               std::ptrdiff_t stride) const;

 private:
  struct Group {
    int columns;
    size_t offset = 0;  ///< in a cell, or among the hidden numbers
    PackedMatrix<T> matrix;
  };

  void add_hidden_groups();
  int widest_layer() const;
  void keep(const T* from, int stride, T* kept) const;
  void activate(int n, const T* x, const T* dx, T* to, T* slopes_to, T* slope) const;
  void damp(double length, T* kept) const;

  const Operators<T>& operators_;
  std::vector<Group> groups_;
  // Tables.
  int n_coefficients_ = 0, n_cells_ = 0;
  std::vector<int> of_pair_;
  size_t cell_stride_ = 0, n_table_cells_ = 0;
  Buffer<T> cells_;
  // Exact.
  std::optional<RadialNetwork> network_;
  std::vector<PackedMatrix<T>> layers_;
  int hidden_ = 0;
};

}  // namespace distmlip::native
