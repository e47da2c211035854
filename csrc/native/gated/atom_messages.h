// Messages of edges to atoms.
#pragma once

#include "native/gated/perceptron.h"
#include "native/gated/row_sums.h"
#include "native/gated/topology.h"

namespace distmlip::native::gated {

/// Of a partition: what edges read.
template <class T>
struct AtomTables {
  const T *receivers, *senders;  ///< (n_owned, sums), (n_local, sums)
  const T* bonds;                ///< (n_short, sums), of updated ones; null: none is
  Rows<const T> basis;           ///< of bonds: [values, derivatives]
};

/// On the way back; what is null is not wanted.
template <class T>
struct AtomGradients {
  const T* messages;       ///< (n_owned, channels), given
  T *receivers, *senders;  ///< as AtomTables
  T* bonds;                ///< written, not added to
  T* by_length;            ///< (n_bonds,), added to
};

template <class T>
class AtomMessages {
 public:
  AtomMessages(const Operators<T>& operators, const BlockParameters& parameters);

  const Projection<T>& receivers() const { return receivers_; }
  const Projection<T>& senders() const { return senders_; }
  const Projection<T>& bonds() const { return bonds_; }
  const Projection<T>& out() const { return out_; }

  /// Adds to messages (n_owned, channels).
  void forward(const Topology& topology, const AtomTables<T>& tables, T* messages, int n_threads) const;
  void backward(const Topology& topology, const AtomTables<T>& tables, const AtomGradients<T>& gradients,
                int n_threads) const;

 private:
  struct Memory;
  struct Work;
  void run(Work& work, int n_threads) const;
  void chunk(Work& work, int64_t chunk, Memory& memory) const;
  void block(Work& work, Memory& memory, int64_t first, int64_t last, bool is_updated) const;
  void project(const Work& work, Memory& memory, int64_t first, int n_bonds, bool is_updated) const;
  void gather(const Work& work, Memory& memory, int64_t first, int64_t last, bool is_updated) const;
  void back(Work& work, Memory& memory, int64_t first, int64_t last, bool is_updated) const;

  const Operators<T>& operators_;
  int channels_, sums_;
  Projection<T> receivers_, senders_, bonds_, out_;
  Projection<T> of_basis_;  ///< [sums of bonds that were never updated | weights]
  Projection<T> weights_;   ///< alone
  std::vector<T> shift_;    ///< of sums of bonds that were never updated, once there are angles
  Perceptron<T> perceptron_;
};

}  // namespace distmlip::native::gated
