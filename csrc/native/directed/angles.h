// What becomes of angles: messages to the nodes of the line graph, or updates of themselves.
#pragma once

#include "native/directed/gated_layer.h"
#include "native/directed/line_graph.h"

namespace distmlip::native::directed {

template <class T>
class Angles {
 public:
  /// Throws std::invalid_argument for parameters that do not fit together.
  Angles(const Operators<T>& operators, const LayerParameters& parameters, int nodes, int angles, int atoms,
         int outputs)
      : operators_(operators),
        layer_(operators, parameters, std::array{nodes, nodes, atoms}, angles, outputs) {}

  const GatedLayer<T>& layer() const { return layer_; }

  struct Input {
    const LineGraph& line;
    const T* angles;                ///< (n_angles, channels)
    const SourceTables<T>* tables;  ///< of nodes that send, (n_rows, sums); that receive; of centres
    const T* weights = nullptr;     ///< (n_rows, outputs), of messages; null: updates are not weighted
  };
  /// Updates: written, angles with what is added. Messages: added to nodes (n_nodes, outputs). Unless it is
  /// null `kept` (n_angles, kept_per_angle()) is filled for backward(), which else computes all of it again.
  void update(const Input& input, T* updated, T* kept, int n_threads) const;
  void send(const Input& input, T* messages, T* kept, int n_threads) const;
  int64_t kept_per_angle() const { return layer_.kept_per_row(); }

  struct Gradients {
    const T* given;           ///< of updated angles, or of messages
    T* angles;                ///< written
    SourceTables<T>* tables;  ///< added to
    T* weights = nullptr;     ///< added to
  };
  void backward(const Input& input, const Gradients& gradients, const T* kept, int n_threads) const;

 private:
  struct Memory;
  void evaluate(const Input& input, int64_t first, int n, bool keep, T* kept, Memory& memory) const;
  void find_weights(const Input& input, int64_t first, int n, Memory& memory) const;
  void back(const Input& input, const Gradients& gradients, int64_t first, int n, const T* kept,
            Memory& memory) const;
  T* kept_of(T* kept, int64_t first) const {
    return kept == nullptr ? nullptr : kept + first * kept_per_angle();
  }
  template <class Work>
  void in_blocks(const LineGraph& line, int n_threads, Work work) const;

  const Operators<T>& operators_;
  GatedLayer<T> layer_;
};

}  // namespace distmlip::native::directed
