// What receivers get from their edges.
#pragma once

#include <memory>
#include <vector>

#include "native/block.h"
#include "native/radial.h"

namespace distmlip::native {

/// What belongs to the edges of a block besides the block itself.
template <class T>
struct EdgeRows {
  const T* const* senders = nullptr;     ///< of each edge: the sender's row
  T* const* sender_gradients = nullptr;  ///< null: none are wanted
  const T* kept = nullptr;               ///< of exact radial functions, of all pairs
};

template <class T>
class EdgeOperator {
 public:
  virtual ~EdgeOperator() = default;
  /// Adds to rows of receivers, `size` apart from one atom of the block to the next.
  virtual void forward(EdgeBlock<T>& edges, const EdgeRows<T>& rows, T* receivers, int64_t size) const = 0;
  /// Adds to gradients of senders, harmonics and lengths.
  virtual void backward(EdgeBlock<T>& edges, const EdgeRows<T>& rows, const T* gradients,
                        int64_t size) const = 0;

  /// The same for an operator that goes back by sender: the edges of a block are grouped by who sends them,
  /// `edges.receivers` are senders. `gradients`: of each edge, its receiver's; `rows` and `back`: of senders,
  /// `size` apart from one group's to the next. Adds to gradients of lengths.
  virtual void backward_of_senders(EdgeBlock<T>& /*edges*/, const T* /*kept*/, const T* const* /*gradients*/,
                                   const T* /*rows*/, T* /*back*/, int64_t /*size*/) const {}

  bool back_by_sender = false;
  bool reads_harmonics = true;
  int writes = 0;
  int reads = -1;                       ///< register of senders; -1: reads none
  int functions = -1;                   ///< index among the stage's; -1: none
  bool wants_species_together = false;  ///< edges of a receiver in the order of their senders' species
};

/// Channels [first_channel, …) of a segment of the message from a segment of the sender. `couplings`:
/// (n_harmonics, (2l_in+1)(2l_out+1)), to be multiplied by the harmonics. `group`: of the radial functions.
struct ConvolutionPath {
  int from, to, first_channel, group;
  Matrix couplings;
};

template <class T>
std::unique_ptr<EdgeOperator<T>> convolution(const Operators<T>& operators, const Layout& senders,
                                             const Layout& message, const Radial<T>& radial,
                                             const std::vector<ConvolutionPath>& paths);

/// Sums over a receiver's edges of radial functions times harmonics, of each sender's species apart: all that
/// a convolution of senders that depend on their species alone has to know of the edges. In the message each
/// degree has the functions' columns for every species. `groups`: of the radial functions, for each degree.
template <class T>
std::unique_ptr<EdgeOperator<T>> expansion(const Operators<T>& operators, int n_species,
                                           const Layout& message, const Radial<T>& radial,
                                           const std::vector<int>& groups);

/// Senders' rows times radial functions, summed: message[l][m][c] += radial_l[c] sender[l][m][c]. `groups`:
/// of the radial functions, for each segment, of at most degree 2. Goes back by sender: so no two edges add
/// to the same row.
template <class T>
std::unique_ptr<EdgeOperator<T>> scaling(const Operators<T>& operators, const Layout& rows,
                                         const Radial<T>& radial, const std::vector<int>& groups);

/// Sums of radial functions over the edges.
template <class T>
std::unique_ptr<EdgeOperator<T>> edge_sum(const Radial<T>& radial);

/// Ziegler, Biersack and Littmark's repulsion, half of it for either atom, under a polynomial envelope.
struct Repulsion {
  std::vector<double> charges;  ///< of each species pair: product of atomic numbers times e²/(4πε₀), eV·Å
  std::vector<double> lengths;  ///< of each species pair: screening, Å
  std::vector<double> cutoffs;  ///< Å
  std::vector<double> weights, exponents;
  int power;
};

template <class T>
std::unique_ptr<EdgeOperator<T>> repulsion(const Repulsion& repulsion);

}  // namespace distmlip::native
