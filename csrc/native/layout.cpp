#include "native/layout.h"

#include "core/error.h"
#include "kernels/irreps/operators.h"

namespace distmlip::native {

Layout::Layout(const std::vector<Irrep>& irreps) {
  for (const auto& [degree, channels] : irreps) {
    if (degree < 0 || channels < 1) invalid("an irrep of degree ", degree, " with ", channels, " channels");
    const Segment segment{degree, channels, kernels::irreps::padded(channels), size_, width_};
    size_ += static_cast<int64_t>(segment.rows()) * segment.padded;
    width_ += static_cast<int64_t>(segment.rows()) * segment.channels;
    segments_.push_back(segment);
  }
}

const Segment& Layout::segment(int index) const {
  if (index < 0 || static_cast<size_t>(index) >= segments_.size())
    invalid("segment ", index, " of a row with ", segments_.size());
  return segments_[static_cast<size_t>(index)];
}

bool Layout::is_same_as(Order order) const {
  return size_ == width_ && (order == Order::components ||
                             std::all_of(segments_.begin(), segments_.end(),
                                         [](const Segment& segment) { return segment.degree == 0; }));
}

}  // namespace distmlip::native
