// What blocks of edges are updated in.
#pragma once

#include "native/directed/edges.h"
#include "native/gated/row_sums.h"

namespace distmlip::native::directed {

using gated::Share;
using gated::Table;

/// Of one thread.
template <class T>
struct Edges<T>::Memory {
  explicit Memory(const Edges& of) {
    const auto rows = [](Buffer<T>& buffer, int width, int rows_of_edge = 1) {
      buffer.resize(static_cast<size_t>(rows_of_edge * rows_per_block * width + slack));
    };
    rows(edges, of.channels_);
    rows(back, of.channels_);
    rows(embedding, of.channels_, 2);
    rows(update_weights, of.channels_, 2);
    rows(message_weights, of.atoms_, 2);
    const int widest = std::max(of.channels_, of.atoms_);
    rows(weight_gradients, widest);
    if (of.three_body_) three_body = of.three_body_->memory();
    if (of.update_) update = of.update_->memory();
    messages = of.messages_.memory();
  }

  std::array<double, rows_per_block> lengths;
  std::array<T, rows_per_block> by_length;
  typename LengthTables<T>::Places places;
  int per = 1;                                           ///< rows of an edge in what follows
  Buffer<T> embedding, update_weights, message_weights;  ///< [edge][values, derivatives]
  Buffer<T> edges, back, weight_gradients;               ///< back: gradients of edges
  typename GatedLayer<T>::Memory three_body, update, messages;
  typename Norm<T>::Memory norm;
  std::array<const T*, 2 * rows_per_block> weights{};  ///< every second one is none
  std::array<T*, 2 * rows_per_block> to_weights{};
  std::array<const T*, rows_per_block> given;
  std::array<T*, rows_per_block> to;
  Share<T> senders;
  std::vector<Table<T>> of_senders;  ///< of the update, unless there is none, and of messages
};

}  // namespace distmlip::native::directed
