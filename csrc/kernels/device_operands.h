// What operators for devices are given. All pointers are memory of the device. Rows are [2l+1][channels] for
// each irrep, without padding.
#pragma once

#include <cstdint>

namespace distmlip::kernels {

constexpr int most_components = 7;  ///< of an irrep that a convolution reads or writes

/// A path "uvu" of a convolution: message[m][c] += weight[c] Σ_i sender[i][c] coupling[i][m].
struct PathOfDevice {
  int32_t n_in, n_out;       ///< 2l+1 of the sender's irrep and of the message's
  int32_t channels;          ///< of the sender's irrep
  int32_t sender;            ///< where its irrep begins in a sender's row
  int32_t message;           ///< where its first channel stands in a message's row
  int32_t message_stride;    ///< from component to component there
  int32_t weight, coupling;  ///< where they begin in an edge's row; couplings are [n_in][n_out]
};

/// Paths that read the same irrep stand together; no two write to the same place.
struct PathsOfDevice {
  const PathOfDevice* all;
  int32_t n;
  const int32_t* of_weight;  ///< (n_weights) which path each number of an edge's weights belongs to
  const int32_t*
      of_channel;  ///< (n_channels) the first path that reads each channel; channels that none reads: −1
  const int32_t* element;  ///< (n_channels) where each channel's first component stands in a sender's row
  int64_t n_weights, n_channels, n_couplings;  ///< of an edge, of a sender (of all its irreps), of an edge
  int64_t sender_width, message_width;         ///< numbers of a row
};

/// Edges by receiver: those of local row r are [row_begin[r], row_begin[r + 1]).
template <class Real>
struct ConvolvedEdges {
  int64_t n_rows, n_edges;
  const int64_t* row_begin;
  const int64_t* senders;  ///< local rows
  const Real* rows;        ///< (n_local, sender_width)
  const Real* weights;     ///< (n_edges, n_weights)
  const Real* couplings;   ///< (n_edges, n_couplings) Σ_m CG Y_m
};

/// Gradients of what went into a convolution; all of them are written.
template <class Real>
struct ConvolvedGradients {
  Real* rows;       ///< (n_local, sender_width)
  Real* weights;    ///< (n_edges, n_weights)
  Real* couplings;  ///< (n_edges, n_couplings)
};

/// Rows of atoms, [inputs][channels] and [outputs][channels].
template <class Real>
struct ContractedAtoms {
  int64_t n_atoms;
  int32_t n_channels, n_coefficients;
  const int64_t* species;    ///< (n_atoms)
  const Real* coefficients;  ///< (n_species, n_coefficients, n_channels)
  const Real* inputs;
};

/// Rows of senders of tensors of rank two, nine numbers of each channel, and radial functions.
template <class Real>
struct ScaledEdges {
  int64_t n_rows, n_edges;
  int32_t n_channels;
  const int64_t *row_begin, *senders;  ///< as ConvolvedEdges
  const Real* rows;                    ///< (n_local, 9, n_channels)
  const Real* radial;                  ///< (n_edges, 3, n_channels), of the numbers of degree 0, 1 and 2
};

/// kernels/tensor_functions.h
enum class TensorOperation {
  of_harmonics,
  norm,
  norms,
  normalised,
  anticommutator,
  twice_product,
  plus_square
};

/// Rows of atoms, (n_atoms, 9, n_channels); functions of one tensor do not read the second one.
template <class Real>
struct TensorRows {
  int64_t n_atoms;
  int32_t n_channels;
  const Real *first, *second;
};

constexpr int most_gated_channels = 64;
constexpr int most_gated_tables = 4;

/// Rows (edges or angles) of gated perceptrons, as csrc/native/gated/parameters.h has them, of sums of rows
/// of tables, [core | gate].
template <class Real>
struct GatedRows {
  int64_t n_rows;
  int32_t n_tables;
  const Real* tables[most_gated_tables];    ///< (?, 2 n_hidden)
  const int64_t* index[most_gated_tables];  ///< (n_rows) which row of each table
  int32_t n_hidden, n_channels;             ///< of either half; without hidden layers they are the same
  const Real *hidden, *transposed;          ///< (2, n_hidden, n_channels), (2, n_channels, n_hidden), or null
  const Real* bias;                         ///< (2, n_channels), behind hidden layers
  const Real *scales, *shifts;              ///< (2, n_channels), of the norm of either half, or null
  Real epsilon;
};

/// Rows of weights that messages are multiplied with.
template <class Real>
struct MessageWeights {
  int32_t n;
  const Real* tables[2];    ///< (?, n_channels)
  const int64_t* index[2];  ///< (n_rows) which row of each
};

/// Rows summed at targets: those of target t are order[begin[t]], …, order[begin[t + 1] − 1].
struct SumOrder {
  int64_t n_targets;
  const int64_t* begin;
  const int32_t* order;
};

}  // namespace distmlip::kernels
