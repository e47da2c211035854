// What atoms are embedded with of their edges: radial functions as rows of order 0 in the frames of edges,
// which receivers add up.
#pragma once

#include "native/so2/edges.h"

namespace distmlip::native::so2 {

template <class T>
class DegreeEmbedding {
 public:
  /// Throws std::invalid_argument for what does not fit together.
  DegreeEmbedding(const Operators<T>& operators, const EdgeParameters& parameters);

  const Edges<T>& edges() const { return edges_; }
  /// Writes rows (n_owned, row_size).
  void forward(const KeptEdges<T>& kept, T* rows, int n_threads) const;
  /// From gradients of rows: writes those of vectors of kept edges.
  void backward(const KeptEdges<T>& kept, const T* by_rows, T* by_vectors, int n_threads) const;

 private:
  struct Memory {
    explicit Memory(const DegreeEmbedding& of) : block(of.edges_.block()) {
      by_radial.resize(static_cast<size_t>(of.edges_.radial().columns() + slack));
    }
    FrameBlock<T> block;
    Buffer<T> by_radial;
  };
  void edge_back(int edge, const T* by_row, T* by_vectors, Memory& memory) const;

  const Operators<T>& operators_;
  Edges<T> edges_;
};

}  // namespace distmlip::native::so2
