// Messages of angles to their first bonds, from angles that are updated on the way.
#pragma once

#include "native/gated/perceptron.h"
#include "native/gated/row_sums.h"
#include "native/gated/topology.h"

namespace distmlip::native::gated {

/// What a layer of angles reads of bonds (n_short, 2 sums), [as first bond, as second], and of centres
/// (n_owned, sums).
template <class T>
struct AngleTables {
  const T *bonds, *centres;
};
template <class T>
struct AngleTableGradients {
  T *bonds, *centres;  ///< added to
};

/// A layer: its first linear layer, divided among what it reads.
template <class T>
struct AngleLayer {
  AngleLayer(const Operators<T>& operators, const AngleParameters& parameters, int channels);
  int sums;
  Projection<T> bonds, centres, angles;
  Perceptron<T> perceptron;
};

/// Of a partition.
template <class T>
struct AngleInput {
  std::vector<AngleTables<T>> layers;  ///< those of updates, then those of messages
  const T* weights;                    ///< (n_short, channels)
  Rows<const T> basis;                 ///< of pairs: [values, derivatives]
};

template <class T>
struct AngleGradients {
  const T* messages;  ///< (n_short, channels), given
  std::vector<AngleTableGradients<T>> layers;
  T* weights;
  T* by_angle;  ///< (n_pairs,), written
};

template <class T>
class AngleMessages {
 public:
  AngleMessages(const Operators<T>& operators, const BlockParameters& parameters);

  /// Updates, then messages.
  const std::vector<AngleLayer<T>>& layers() const { return layers_; }

  /// Adds to messages (n_short, channels).
  void forward(const Topology& topology, const AngleInput<T>& input, T* messages, int n_threads) const;
  void backward(const Topology& topology, const AngleInput<T>& input, const AngleGradients<T>& gradients,
                int n_threads) const;

 private:
  struct Memory;
  struct Work;
  int n_layers() const { return static_cast<int>(layers_.size()); }
  void run(Work& work, int n_threads) const;
  void chunk(Work& work, int64_t chunk, Memory& memory) const;
  void block(Work& work, Memory& memory, int64_t first, int n) const;
  void evaluate(const Work& work, Memory& memory, int64_t first, int n, size_t layer, bool keep) const;
  void back(Work& work, Memory& memory, int64_t first, int n) const;
  void back(Work& work, Memory& memory, int64_t first, int n, size_t layer) const;

  const Operators<T>& operators_;
  int channels_;
  std::vector<AngleLayer<T>> layers_;
  Projection<T> of_basis_;  ///< [angles, unless no update reads them | the first layer's sums]
};

}  // namespace distmlip::native::gated
