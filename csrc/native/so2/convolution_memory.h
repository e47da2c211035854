// What convolutions of one thread are made in.
#pragma once

#include "native/so2/convolution.h"

namespace distmlip::native::so2 {

template <class T>
struct Convolution<T>::Memory {
  explicit Memory(const Convolution& of) : block(of.edges_.block()) {
    const LayerShape& shape = of.shape_;
    const auto rows = [](Buffer<T>& buffer, int64_t n, int64_t width) {
      buffer.resize(static_cast<size_t>(n * width + slack));
    };
    const int orders = shape.mmax + 1;
    into.resize(static_cast<size_t>(3 * orders - 2));
    by_into.resize(static_cast<size_t>(2 * orders - 1));
    by_hidden.resize(into.size());
    first_sum.push_back(0);
    for (int m = 0; m < orders; ++m) {
      for (int k = std::max(0, 3 * m - 2); k <= 3 * m; ++k) {
        rows(into[static_cast<size_t>(k)], edges_per_block, shape.from_atoms(m));
        rows(by_hidden[static_cast<size_t>(k)], edges_per_block,
             shape.to_hidden(m) + (m == 0 ? shape.n_gates() : 0));
      }
      for (int k = std::max(0, 2 * m - 1); k <= 2 * m; ++k)
        rows(by_into[static_cast<size_t>(k)], edges_per_block, shape.from_atoms(m));
      first_sum.push_back(first_sum.back() + of.n_sums(m) * of.sum_stride(m));
    }
    rows(hidden, edges_per_block, shape.hidden_size());
    rows(gated, edges_per_block, shape.hidden_size());
    rows(by_gated, edges_per_block, shape.hidden_size());
    rows(sums, 1, first_sum.back());
    rows(of_row, receivers_per_chunk, shape.channels);
    rows(bias_sums, receivers_per_chunk, of.edges_.n_rows(0));
    rows(by_edges, edges_per_block, 3);
  }

  FrameBlock<T> block;
  std::vector<int32_t> positions;  ///< of the chunk's edges
  std::vector<Buffer<T>> into, by_hidden, by_into;
  Buffer<T> hidden, gated, by_gated;
  std::vector<int64_t> first_sum;  ///< of each order
  Buffer<T> sums;                  ///< of each order: [sum][receiver]; on the way back their gradients
  Buffer<T> of_row;                ///< [receiver]
  Buffer<T> bias_sums;             ///< of coefficients of order 0, [row][receiver]; on the way back gradients
  Buffer<T> by_edges;              ///< by turns and by the length
  std::vector<const T*> atoms = std::vector<const T*>(2 * edges_per_block);
  std::vector<T*> by_atoms = std::vector<T*>(2 * edges_per_block);
  gated::Share<T>* share = nullptr;
  std::vector<gated::Table<T>> tables;

  static std::vector<T*> pointers(std::vector<Buffer<T>>& buffers) {
    std::vector<T*> all;
    for (Buffer<T>& buffer : buffers) all.push_back(buffer.data());
    return all;
  }
};

template <class T>
template <class F>
void Convolution<T>::for_each_second(const Layers<T>& layers, int degree, int row, const Memory& memory,
                                     F f) const {
  const auto l = static_cast<size_t>(degree);
  for (int m = 0; m <= std::min(degree, shape_.mmax); ++m) {
    const auto sums = [&](int part) {
      const int sum = part * edges_.n_rows(m) + row - m * m;
      return memory.first_sum[static_cast<size_t>(m)] + sum * sum_stride(m);
    };
    if (m == 0) {
      f(layers.second[l], sums(0), false);
    } else {
      const auto order = static_cast<size_t>(m) - 1, of_order = l - static_cast<size_t>(m);
      f(layers.second_real[order][of_order], sums(0), true);
      f(layers.second_imaginary[order][of_order], sums(1), true);
    }
  }
}

}  // namespace distmlip::native::so2
