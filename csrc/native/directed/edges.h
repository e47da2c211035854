// Updates of edges, and their messages to atoms.
#pragma once

#include <optional>

#include "native/directed/gated_layer.h"
#include "native/directed/length_tables.h"
#include "native/directed/norm.h"
#include "native/directed/triples.h"

namespace distmlip::native::directed {

/// What edges read.
template <class T>
struct EdgeInput {
  const EdgeTopology& topology;
  const T* vectors;                       ///< (n_edges, 3)
  const T* edges = nullptr;               ///< (n_edges, channels) before; null: functions of the length
  const int32_t* node_of_edge = nullptr;  ///< (n_edges,): the row of nodes that an edge is; -1: none
  const T* nodes = nullptr;               ///< rows of channels
  const T* three_body = nullptr;          ///< (n_edges, padded columns)
  const SourceTables<T>*update = nullptr, *messages = nullptr;  ///< of receivers and of senders
};

/// Gradients; what is null is not wanted.
template <class T>
struct EdgeGradients {
  const T* edges = nullptr;     ///< given, of what edges are then; null: zero
  const T* messages = nullptr;  ///< given
  T* edges_before = nullptr;    ///< written, where they are no nodes; else zeros
  T* nodes = nullptr;           ///< written, rows that are edges
  T* three_body = nullptr;      ///< written
  SourceTables<T>*of_update = nullptr, *of_messages = nullptr;  ///< added to
  T* vectors = nullptr;                                         ///< (n_edges, 3), added to
};

template <class T>
class Edges {
 public:
  /// Throws std::invalid_argument for parameters that do not fit together.
  Edges(const Operators<T>& operators, const LengthTables<T>& tables, const BlockParameters& parameters);

  const std::optional<GatedLayer<T>>& update() const { return update_; }
  const GatedLayer<T>& messages() const { return messages_; }

  /// Writes edges (n_edges, channels) unless null, adds to messages (n_owned, atom channels). Unless it is
  /// null `kept` (n_edges, kept_per_edge()) is filled for backward(), which else computes all of it again.
  void forward(const EdgeInput<T>& input, T* edges, T* messages, T* kept, int n_threads) const;
  void backward(const EdgeInput<T>& input, const EdgeGradients<T>& gradients, const T* kept,
                int n_threads) const;
  int64_t kept_per_edge() const;

 private:
  struct Memory;
  /// Where layers of a block of edges keep what backward() wants; all null: in their memory.
  struct Kept {
    T *three_body = nullptr, *update = nullptr, *messages = nullptr, *norm = nullptr;
  };
  Kept kept_of(T* kept, int64_t first, int n) const;
  void find(const EdgeInput<T>& input, int64_t first, int n, int per, Memory& memory) const;
  void evaluate(const EdgeInput<T>& input, int64_t first, int n, bool keep, const Kept& kept,
                Memory& memory) const;
  void begin(const EdgeInput<T>& input, int64_t first, int n, bool keep, const Kept& kept,
             Memory& memory) const;
  void restore(int n, const Kept& kept, Memory& memory) const;
  void apply(const EdgeInput<T>& input, const GatedLayer<T>& layer, const SourceTables<T>& tables,
             int64_t first, int n, bool keep, T* kept, const T* edges,
             typename GatedLayer<T>::Memory& memory) const;
  void weights(int group, int n, Memory& memory, Buffer<T>& rows) const;
  void back(const EdgeInput<T>& input, const EdgeGradients<T>& gradients, int64_t first, int n,
            const Kept& kept, Memory& memory) const;
  void messages_back(const EdgeInput<T>& input, const EdgeGradients<T>& gradients, int64_t first, int n,
                     const Kept& kept, Memory& memory) const;
  void update_back(const EdgeInput<T>& input, const EdgeGradients<T>& gradients, int64_t first, int n,
                   const Kept& kept, Memory& memory) const;
  void begin_back(const EdgeInput<T>& input, const EdgeGradients<T>& gradients, int64_t first, int n,
                  const Kept& kept, Memory& memory) const;
  void weigh_back(int n, int channels, T* out, Memory& memory) const;
  void add_lengths(int n, int channels, const T* gradients, const Buffer<T>& values, Memory& memory) const;

  const Operators<T>& operators_;
  const LengthTables<T>& tables_;
  int atoms_, channels_;
  int embedding_, update_weights_ = 0, message_weights_;
  std::optional<GatedLayer<T>> three_body_, update_;
  GatedLayer<T> messages_;
  std::optional<Norm<T>> norm_;  ///< of edges, behind messages
};

}  // namespace distmlip::native::directed
