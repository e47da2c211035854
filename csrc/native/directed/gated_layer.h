// A gated perceptron of rows that gather others, on a block of rows.
#pragma once

#include <array>
#include <span>

#include "native/directed/parameters.h"
#include "native/gated/perceptron.h"

namespace distmlip::native::directed {

using gated::Projection;
using gated::Rows;
using gated::rows_per_block;

constexpr size_t most_sources = 3;  ///< that rows gather from

template <class T>
class GatedLayer {
 public:
  /// Throws std::invalid_argument unless the layer has so many sources, of so many channels each, rows of
  /// `own` channels, and `outputs`.
  GatedLayer(const Operators<T>& operators, const LayerParameters& parameters,
             std::span<const int> source_channels, int own, int outputs);

  int sums() const { return own_.outputs(); }
  int outputs() const { return outputs_; }
  int own_channels() const { return own_.inputs(); }
  /// What a source gives its rows.
  const Projection<T>& source(size_t k) const { return sources_[k]; }

  struct Memory {
    typename gated::Perceptron<T>::Memory perceptron;
    Buffer<T> own;
    std::array<const T*, (most_sources + 1) * rows_per_block> gathered;
    std::array<T*, most_sources * rows_per_block> targets;
    T* out() { return perceptron.out.data(); }
  };
  Memory memory() const;

  /// memory.out() (n, outputs) of rows (n, own). `source_of(k, row)`: the row of what source k gives. For
  /// keeping, and elsewhere, see gated::Perceptron.
  template <class SourceOf>
  void forward(int n, const T* rows, SourceOf source_of, Memory& memory, bool keep,
               T* elsewhere = nullptr) const {
    own_.apply(n, {rows, own_.inputs()}, {memory.own.data(), sums()});
    const size_t per = sources_.size() + 1;
    for (size_t row = 0; row < static_cast<size_t>(n); ++row) {
      for (size_t k = 0; k + 1 < per; ++k) memory.gathered[per * row + k] = source_of(k, row);
      memory.gathered[per * row + per - 1] = memory.own.data() + row * static_cast<size_t>(sums());
    }
    perceptron_.forward(n, static_cast<int>(per), memory.gathered.data(), memory.perceptron, keep, elsewhere);
  }
  int64_t kept_per_row() const { return perceptron_.kept_per_row(); }
  void restore(int n, const T* elsewhere, Memory& memory) const {
    perceptron_.restore(n, elsewhere, memory.perceptron);
  }

  /// From gradients (n, outputs) to those of rows, which are added or written, and to those of what sources
  /// gave, which are added to rows `target_of(k, row)`; unless `with_sources` is false.
  template <class TargetOf>
  void backward(int n, const T* gradients, TargetOf target_of, bool with_sources, T* rows, bool adds,
                Memory& memory, const T* elsewhere = nullptr) const {
    const size_t per = with_sources ? sources_.size() : 0;
    for (size_t row = 0; row < static_cast<size_t>(n); ++row)
      for (size_t k = 0; k < per; ++k) memory.targets[per * row + k] = target_of(k, row);
    const T* of_sums = perceptron_.backward(n, gradients, static_cast<int>(per), memory.targets.data(),
                                            memory.perceptron, elsewhere);
    own_.back(n, {of_sums, sums()}, {rows, own_.inputs()}, adds);
  }

 private:
  int outputs_;
  std::vector<Projection<T>> sources_;
  Projection<T> own_;
  gated::Perceptron<T> perceptron_;
};

/// Rows of tables for a layer's sources, and gradients of them.
template <class T>
struct SourceTables {
  std::array<Buffer<T>, most_sources> rows;
};

}  // namespace distmlip::native::directed
