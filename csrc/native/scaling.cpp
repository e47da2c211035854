#include "core/error.h"
#include "native/edge_operators.h"

namespace distmlip::native {
namespace {

template <class T>
class Scaling : public EdgeOperator<T> {
 public:
  Scaling(const Operators<T>& operators, const Layout& rows, const Radial<T>& radial,
          const std::vector<int>& groups)
      : operators_(operators), radial_(radial) {
    this->back_by_sender = true;
    this->reads_harmonics = false;
    if (groups.size() != rows.segments().size())
      invalid(groups.size(), " groups of radial functions for ", rows.segments().size(), " segments");
    for (size_t k = 0; k < groups.size(); ++k) {
      const Segment& segment = rows.segments()[k];
      const auto group = static_cast<size_t>(groups[k]);
      if (segment.degree > 2) invalid("rows of degree ", segment.degree, " to be scaled; at most 2");
      if (groups[k] < 0 || group >= radial.n_groups() || radial.columns(group) != segment.padded)
        invalid("radial functions that do not fit the rows that they scale");
      parts_.push_back({segment, group});
      widest_ = std::max(widest_, segment.padded);
    }
  }

  void forward(EdgeBlock<T>& edges, const EdgeRows<T>& rows, T* receivers, int64_t size) const override {
    T* weights = room(edges.weights, edges_per_block * widest_);
    for (const Part& part : parts_) {
      const Segment& segment = part.segment;
      radial_.weights(edges, part.group, {0, segment.padded, 1}, rows.kept, weights, segment.padded);
      for (size_t e = 0; e < static_cast<size_t>(edges.n); ++e) edges.a[e] = rows.senders[e] + segment.offset;
      for (const Receiver& receiver : edges.receivers)
        operators_.scale(of_edges(edges, receiver, segment, weights, 1),
                         receivers + receiver.atom * size + segment.offset, segment.padded);
    }
  }

  void backward(EdgeBlock<T>& /*edges*/, const EdgeRows<T>& /*rows*/, const T* /*gradients*/,
                int64_t /*size*/) const override {}

  void backward_of_senders(EdgeBlock<T>& edges, const T* kept, const T* const* gradients, const T* rows,
                           T* back, int64_t size) const override {
    T* weights = room(edges.weights, 2 * edges_per_block * widest_);
    for (const Part& part : parts_) {
      const Segment& segment = part.segment;
      radial_.weights(edges, part.group, {0, segment.padded, 2}, kept, weights, segment.padded);
      for (size_t e = 0; e < static_cast<size_t>(edges.n); ++e) edges.a[e] = gradients[e] + segment.offset;
      for (const Receiver& sender : edges.receivers) {
        const int64_t place = sender.atom * size + segment.offset;
        operators_.scale_back(of_edges(edges, sender, segment, weights, 2), rows + place, back + place,
                              segment.padded, edges.length_gradients.data() + sender.first);
      }
    }
  }

 private:
  struct Part {
    Segment segment;
    size_t group;
  };

  static kernels::irreps::PathEdges<T> of_edges(const EdgeBlock<T>& edges, const Receiver& of,
                                                const Segment& segment, const T* weights, int per) {
    return {segment.rows(),
            segment.rows(),
            of.n,
            segment.padded,
            weights + per * of.first * segment.padded,
            segment.padded,
            edges.a.data() + of.first,
            segment.padded,
            nullptr,
            0};
  }

  const Operators<T>& operators_;
  const Radial<T>& radial_;
  std::vector<Part> parts_;
  int widest_ = 0;
};

}  // namespace

template <class T>
std::unique_ptr<EdgeOperator<T>> scaling(const Operators<T>& operators, const Layout& rows,
                                         const Radial<T>& radial, const std::vector<int>& groups) {
  return std::make_unique<Scaling<T>>(operators, rows, radial, groups);
}

template std::unique_ptr<EdgeOperator<float>> scaling(const Operators<float>&, const Layout&,
                                                      const Radial<float>&, const std::vector<int>&);
template std::unique_ptr<EdgeOperator<double>> scaling(const Operators<double>&, const Layout&,
                                                       const Radial<double>&, const std::vector<int>&);

}  // namespace distmlip::native
