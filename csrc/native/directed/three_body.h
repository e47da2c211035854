// What edges get of the angles with the other edges of their receiver.
//
// Where the functions of the angle are Legendre polynomials they are sums of products of spherical harmonics,
// so that a sum over angles is a few sums over edges. Cosines very near to ±1 are kept away from there by the
// models: such angles are looked for, and what that changes is added.
#pragma once

#include <array>
#include <ranges>

#include "native/directed/length_tables.h"
#include "native/directed/triples.h"

namespace distmlip::native::directed {

template <class T>
class ThreeBody {
 public:
  /// Throws std::invalid_argument for parameters that do not fit together.
  ThreeBody(const Operators<T>& operators, const LengthTables<T>& tables,
            const ThreeBodyParameters& parameters);

  bool reads_centres() const { return reads_centres_; }
  int columns() const { return static_cast<int>(function_of_.size()); }
  int padded_columns() const { return kernels::irreps::padded(columns()); }

  struct Input {
    const EdgeTopology& topology;
    const ShortEdges& short_edges;
    const T* vectors;    ///< (n_edges, 3)
    const T* end_atoms;  ///< (n_local, columns), or (n_owned, columns) if it reads centres
  };
  /// Writes sums (n_edges, padded columns): zero for edges that are part of no angle.
  void forward(const Input& input, T* sums, int n_threads) const;

  struct Gradients {
    const T* sums;  ///< given
    T* end_atoms;   ///< added to; null: not wanted
    T* vectors;     ///< (n_edges, 3), added to
  };
  void backward(const Input& input, const Gradients& gradients, int n_threads) const;

 private:
  struct Memory;
  struct Pair;
  void prepare(const Input& input, int64_t atom, bool keep, Memory& memory) const;
  void evaluate_lengths(int n, bool keep, Memory& memory) const;
  void find_pairs(int n, Memory& memory) const;
  void angular(double cosine, Memory& memory) const;
  void add_sums(int n, Memory& memory) const;
  void add_up(int n, const Memory& memory, const T* rows, double* totals) const;
  void add_pairs(Memory& memory) const;
  void back(Memory& memory, const Gradients& gradients) const;
  void sums_back(int n, Memory& memory) const;
  void pairs_back(Memory& memory) const;
  /// Of the column's degree.
  std::ranges::iota_view<int, int> harmonics_of(int column) const {
    const int degree = degree_of_[static_cast<size_t>(column)];
    return {degree * degree, (degree + 1) * (degree + 1)};
  }
  int n_harmonics() const { return (largest_degree_ + 1) * (largest_degree_ + 1); }
  bool by_pairs() const { return degree_of_.empty(); }

  const Operators<T>& operators_;
  const LengthTables<T>& tables_;
  std::vector<AngularFunction> functions_;
  std::vector<int> function_of_;  ///< of each column
  std::vector<int> degree_of_;    ///< of each column; empty: functions are evaluated for each pair
  int largest_degree_ = 0;
  double most_;  ///< largest cosine
  int group_;
  bool reads_centres_;
};

}  // namespace distmlip::native::directed
