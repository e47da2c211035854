// Where the irreps of an atom stand in its row: here [2l+1][channels, padded]; in tensors as e3nn has them.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

namespace distmlip::native {

struct Irrep {
  int degree, channels;
};

struct Segment {
  int degree, channels;
  int padded;           ///< channels, with zeros behind
  int64_t offset;       ///< of its first element in a row
  int64_t e3nn_offset;  ///< in a row of a tensor: [channels][2l+1]

  int rows() const { return 2 * degree + 1; }
  int64_t row(int m) const { return offset + static_cast<int64_t>(m) * padded; }
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

  template <class T, class Source = T>
  void read(const Source* e3nn, T* row) const;
  template <class T>
  void write(const T* row, T* e3nn) const;

 private:
  std::vector<Segment> segments_;
  int64_t size_ = 0, width_ = 0;
};

template <class T, class Source>
void Layout::read(const Source* e3nn, T* row) const {
  for (const Segment& segment : segments_) {
    const Source* from = e3nn + segment.e3nn_offset;
    for (int m = 0; m < segment.rows(); ++m) {
      T* to = row + segment.row(m);
      for (int c = 0; c < segment.channels; ++c) to[c] = static_cast<T>(from[c * segment.rows() + m]);
      for (int c = segment.channels; c < segment.padded; ++c) to[c] = 0;
    }
  }
}

template <class T>
void Layout::write(const T* row, T* e3nn) const {
  for (const Segment& segment : segments_)
    for (int c = 0; c < segment.channels; ++c)
      for (int m = 0; m < segment.rows(); ++m) *e3nn++ = row[segment.row(m) + c];
}

}  // namespace distmlip::native
