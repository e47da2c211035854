// Updates of the nodes of the line graph by angles.
#pragma once

#include <ATen/core/Tensor.h>

#include "native/directed/angles.h"
#include "native/directed/length_tables.h"

namespace distmlip::native::directed {

template <class T>
class Nodes {
 public:
  /// Throws std::invalid_argument for parameters that do not fit together.
  Nodes(const Operators<T>& operators, const LengthTables<T>& tables, const NodeParameters& parameters);

  int channels() const { return messages_.layer().outputs(); }
  int atom_channels() const { return messages_.layer().source(2).inputs(); }
  int angle_channels() const { return messages_.layer().own_channels(); }

  /// Contiguous rows.
  struct Input {
    const LineGraph& line;
    const T* vectors;
    const T *nodes, *angles, *atoms;  ///< (n_rows, …), (n_angles, …), (n_owned, …)
  };
  /// Writes (n_nodes, channels). `kept`: as of Angles.
  void forward(const Input& input, T* updated, T* kept, int n_threads) const;
  int64_t kept_per_angle() const { return messages_.kept_per_angle(); }

  struct Gradients {
    const T* updated;    ///< given
    T *nodes, *angles;   ///< added to; written
    T *atoms, *vectors;  ///< added to
  };
  void backward(const Input& input, const Gradients& gradients, const T* kept, int n_threads) const;

 private:
  struct Inside {
    SourceTables<T> tables;
    Buffer<T> weights;
  };
  void prepare(const Input& input, Inside& inside, int n_threads) const;

  const Operators<T>& operators_;
  const LengthTables<T>& tables_;
  int weights_;
  Angles<T> messages_;
  Projection<T> out_;
};

/// The edges whose lengths those of rows of nodes are.
std::vector<int32_t> edges_of_rows(const LineGraph& line);

/// What nodes, atoms and angles give a layer of angles; and gradients from those of the tables, added.
template <class T>
SourceTables<T> tables_for(const GatedLayer<T>& layer, const LineGraph& line, const T* nodes, const T* atoms,
                           int n_threads);
template <class T>
SourceTables<T> zeros_like(const SourceTables<T>& tables);
template <class T>
void tables_back(const GatedLayer<T>& layer, const LineGraph& line, const SourceTables<T>& gradients,
                 T* nodes, T* atoms, int n_threads);

}  // namespace distmlip::native::directed
