// Inner loops of equivariant models on a device: what kernels/irreps does on the CPU. All pointers are memory
// of the device. Rows are [2l+1][channels] for each irrep, without padding.
#pragma once

#include <cstdint>
#include <memory>

#include "kernels/device/array.h"
#include "kernels/device/step.h"
#include "kernels/monomials.h"

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

/// Calls are put on the device's stream one after another. Sums are taken in an order that does not change
/// from run to run. Throw std::runtime_error if the device fails.
class DeviceOperators {
 public:
  virtual ~DeviceOperators() = default;

  /// messages: (n_rows, message_width), written; what no path writes is zero.
  virtual void convolve(const PathsOfDevice& paths, const ConvolvedEdges<float>& edges, float* messages) = 0;
  virtual void convolve(const PathsOfDevice& paths, const ConvolvedEdges<double>& edges,
                        double* messages) = 0;
  /// `sent` needs no sums; receivers: (n_edges); gradients: those of messages.
  virtual void convolve_back(const PathsOfDevice& paths, const ConvolvedEdges<float>& edges,
                             const SentEdges& sent, const int64_t* receivers, const float* gradients,
                             const ConvolvedGradients<float>& out) = 0;
  virtual void convolve_back(const PathsOfDevice& paths, const ConvolvedEdges<double>& edges,
                             const SentEdges& sent, const int64_t* receivers, const double* gradients,
                             const ConvolvedGradients<double>& out) = 0;

  /// outputs: written.
  virtual void contract(const Monomials& monomials, const ContractedAtoms<float>& atoms, float* outputs) = 0;
  virtual void contract(const Monomials& monomials, const ContractedAtoms<double>& atoms,
                        double* outputs) = 0;
  /// gradients: of outputs; input_gradients: written.
  virtual void contract_back(const Monomials& monomials, const ContractedAtoms<float>& atoms,
                             const float* gradients, float* input_gradients) = 0;
  virtual void contract_back(const Monomials& monomials, const ContractedAtoms<double>& atoms,
                             const double* gradients, double* input_gradients) = 0;
};

/// On the CPU, in the calling thread.
std::unique_ptr<DeviceOperators> host_operators(const Device& device);

/// On a CUDA device that has kernels (device_kernels.h).
std::unique_ptr<DeviceOperators> cuda_operators(const Device& device);

}  // namespace distmlip::kernels
