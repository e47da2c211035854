// Where the irreps of an atom stand in its row: here [2l+1][channels, padded]; in tensors as Order says.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

namespace distmlip::native {

struct Irrep {
  int degree, channels;
};

struct Segment {
  int degree, channels;
  int padded;             ///< channels, with zeros behind
  int64_t offset;         ///< of its first element in a row
  int64_t tensor_offset;  ///< in a row of a tensor

  int rows() const { return 2 * degree + 1; }
  int64_t row(int m) const { return offset + static_cast<int64_t>(m) * padded; }
};

/// Of the numbers of an irrep in a tensor.
enum class Order {
  channels,   ///< [channels][2l+1], as e3nn has them
  components  ///< [2l+1][channels], as rows here, but without padding
};

class Layout {
 public:
  Layout() = default;
  /// Throws std::invalid_argument for a negative degree and for no channels.
  explicit Layout(const std::vector<Irrep>& irreps);

  const std::vector<Segment>& segments() const { return segments_; }
  /// Throws std::invalid_argument if there is none.
  const Segment& segment(int index) const;
  int64_t size() const { return size_; }    ///< elements of a row here
  int64_t width() const { return width_; }  ///< of a row of a tensor
  /// Whether rows of tensors in this order are as rows here.
  bool is_same_as(Order order) const;

  template <class T, class Source = T>
  void read(const Source* tensor, T* row, Order order = Order::channels) const;
  template <class T>
  void write(const T* row, T* tensor, Order order = Order::channels) const;

 private:
  std::vector<Segment> segments_;
  int64_t size_ = 0, width_ = 0;
};

template <class T, class Source>
void Layout::read(const Source* tensor, T* row, Order order) const {
  for (const Segment& segment : segments_) {
    const Source* from = tensor + segment.tensor_offset;
    for (int m = 0; m < segment.rows(); ++m) {
      T* to = row + segment.row(m);
      if (order == Order::components)
        std::copy_n(from + static_cast<int64_t>(m) * segment.channels, segment.channels, to);
      else
        for (int c = 0; c < segment.channels; ++c) to[c] = static_cast<T>(from[c * segment.rows() + m]);
      for (int c = segment.channels; c < segment.padded; ++c) to[c] = 0;
    }
  }
}

template <class T>
void Layout::write(const T* row, T* tensor, Order order) const {
  for (const Segment& segment : segments_) {
    if (order == Order::components) {
      for (int m = 0; m < segment.rows(); ++m)
        tensor = std::copy_n(row + segment.row(m), segment.channels, tensor);
    } else {
      for (int c = 0; c < segment.channels; ++c)
        for (int m = 0; m < segment.rows(); ++m) *tensor++ = row[segment.row(m) + c];
    }
  }
}

}  // namespace distmlip::native
