#include "core/error.h"
#include "native/edge_operators.h"

namespace distmlip::native {
namespace {

using kernels::irreps::largest_degree;
using kernels::irreps::n_harmonics;

template <class T>
class Expansion : public EdgeOperator<T> {
 public:
  Expansion(const Operators<T>& operators, int n_species, const Layout& message, const Radial<T>& radial,
            const std::vector<int>& groups)
      : operators_(operators), radial_(radial), n_species_(n_species), width_(radial.columns(0)) {
    this->wants_species_together = true;
    if (groups.size() != message.segments().size() || groups.size() > largest_degree + 1)
      invalid("an expansion with ", groups.size(), " groups of radial functions and ",
              message.segments().size(), " degrees; at most ", largest_degree + 1, " are possible");
    for (size_t l = 0; l < groups.size(); ++l) {
      const Segment& segment = message.segments()[l];
      const auto group = static_cast<size_t>(groups[l]);
      if (groups[l] < 0 || group >= radial.n_groups() || radial.columns(group) != width_)
        invalid("radial functions that do not fit an expansion");
      if (segment.degree != static_cast<int>(l) || segment.channels != n_species * width_)
        invalid("degree ", segment.degree, " of an expansion with ", segment.channels,
                " channels; it must be degree ", l, " with ", n_species * width_);
      degrees_.push_back({segment, group});
    }
    ones_.resize(static_cast<size_t>(width_ + slack));
    std::fill(ones_.begin(), ones_.end(), T(1));
    ones_of_edges_.assign(edges_per_block, ones_.data());
  }

  void forward(EdgeBlock<T>& edges, const EdgeRows<T>& rows, T* receivers, int64_t size) const override {
    const std::vector<Run> runs = runs_of(edges);
    T* weights = room(edges.weights, edges_per_block * width_);
    for (size_t l = 0; l < degrees_.size(); ++l) {
      if (l == 0 || degrees_[l].group != degrees_[l - 1].group)
        radial_.weights(edges, degrees_[l].group, {0, width_, 1}, rows.kept, weights, width_);
      const Segment& segment = degrees_[l].of_message;
      for (const Run& run : runs)
        operators_.convolve(of_edges(edges, run, l, weights, 1),
                            receivers + run.atom * size + segment.offset + run.species * width_,
                            segment.padded);
    }
  }

  void backward(EdgeBlock<T>& edges, const EdgeRows<T>& rows, const T* gradients,
                int64_t size) const override {
    constexpr int stride = 2 * n_harmonics;
    const std::vector<Run> runs = runs_of(edges);
    T* weights = room(edges.weights, 2 * edges_per_block * width_);
    T* back = room(edges.coupling_gradients, edges_per_block * stride);
    for (size_t l = 0; l < degrees_.size(); ++l) {
      if (l == 0 || degrees_[l].group != degrees_[l - 1].group)
        radial_.weights(edges, degrees_[l].group, {0, width_, 2}, rows.kept, weights, width_);
      const Segment& segment = degrees_[l].of_message;
      for (const Run& run : runs)
        operators_.convolve_back(of_edges(edges, run, l, weights, 2),
                                 gradients + run.atom * size + segment.offset + run.species * width_,
                                 segment.padded, nullptr, back + run.first * stride, stride);
      const size_t n_rows = 2 * l + 1;
      for (size_t e = 0; e < static_cast<size_t>(edges.n); ++e) {
        const T* of_edge = back + e * stride;
        for (size_t m = 0; m < n_rows; ++m)
          edges.harmonic_gradients[e * n_harmonics + l * l + m] += of_edge[m];
        edges.length_gradients[e] += of_edge[n_rows];
      }
    }
  }

 private:
  struct Degree {
    Segment of_message;
    size_t group;
  };
  /// Edges of a receiver whose senders are of one species.
  struct Run : Receiver {
    int species;
  };

  /// Harmonics times functions: a convolution of a sender that is one everywhere.
  kernels::irreps::PathEdges<T> of_edges(const EdgeBlock<T>& edges, const Run& run, size_t l,
                                         const T* weights, int per) const {
    const T* harmonics = edges.harmonics.data() + static_cast<size_t>(run.first) * n_harmonics + l * l;
    return {1,      static_cast<int>(2 * l + 1), run.n, width_,    weights + per * run.first * width_,
            width_, ones_of_edges_.data(),       0,     harmonics, n_harmonics};
  }

  std::vector<Run> runs_of(const EdgeBlock<T>& edges) const {
    std::vector<Run> runs;
    for (const Receiver& receiver : edges.receivers) {
      for (int e = receiver.first; e < receiver.first + receiver.n; ++e) {
        const int species = edges.species_pairs[static_cast<size_t>(e)] % n_species_;
        if (e == receiver.first || runs.back().species != species)
          runs.push_back({{receiver.atom, e, 0}, species});
        ++runs.back().n;
      }
    }
    return runs;
  }

  const Operators<T>& operators_;
  const Radial<T>& radial_;
  const int n_species_, width_;
  std::vector<Degree> degrees_;
  Buffer<T> ones_;
  std::vector<const T*> ones_of_edges_;
};

}  // namespace

template <class T>
std::unique_ptr<EdgeOperator<T>> expansion(const Operators<T>& operators, int n_species,
                                           const Layout& message, const Radial<T>& radial,
                                           const std::vector<int>& groups) {
  return std::make_unique<Expansion<T>>(operators, n_species, message, radial, groups);
}

template std::unique_ptr<EdgeOperator<float>> expansion(const Operators<float>&, int, const Layout&,
                                                        const Radial<float>&, const std::vector<int>&);
template std::unique_ptr<EdgeOperator<double>> expansion(const Operators<double>&, int, const Layout&,
                                                         const Radial<double>&, const std::vector<int>&);

}  // namespace distmlip::native
