// Functions of the lengths of bonds and of angles, and what their gradients are for vectors.
#pragma once

#include "native/gated/parameters.h"
#include "native/gated/projection.h"
#include "native/gated/topology.h"

namespace distmlip::native::gated {

/// Rows of bonds: [values, derivatives by the length]; of pairs: [values, derivatives by the angle].
struct BasisRows {
  at::Tensor bonds, short_bonds, angles;
};

template <class T>
class Bases {
 public:
  /// Throws std::invalid_argument if embeddings and weights do not fit their bases and each other.
  Bases(const Operators<T>& operators, const BasisParameters& parameters);

  int of_bonds() const { return bonds_.n; }  ///< values of a row
  int of_short_bonds() const { return short_bonds_.n; }
  int of_angles() const { return 2 * static_cast<int>(angle_frequencies_.size()); }

  /// `with_angles`: not those of bonds alone.
  BasisRows rows(const Topology& topology, const at::Tensor& vectors, bool with_angles, int n_threads) const;

  /// (n_edges, 3) from derivatives by the lengths of bonds and by the angles of pairs.
  at::Tensor vector_gradients(const Topology& topology, const at::Tensor& vectors, const T* by_length,
                              const T* by_angle) const;

 private:
  struct Radial {
    Radial(const RadialBasis& basis);
    RadialBasis basis;
    int n;  ///< padded
    std::vector<double> frequencies;
  };
  void radial_rows(const Radial& radial, const Topology& topology, const T* vectors, int64_t first,
                   int64_t count, T* rows) const;
  void angle_rows(const Topology& topology, const T* vectors, int64_t first, int64_t count, T* rows) const;

  const Operators<T>& operators_;
  Radial bonds_, short_bonds_;
  std::vector<double> angle_frequencies_;  ///< padded
};

}  // namespace distmlip::native::gated
