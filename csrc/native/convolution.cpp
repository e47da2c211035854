#include "core/error.h"
#include "native/edge_operators.h"

namespace distmlip::native {
namespace {

using kernels::irreps::n_harmonics;

/// On the way forward: their radial functions stay in the first cache. A multiple of every panel's width.
constexpr int channels_together = 64;

template <class T>
class Convolution : public EdgeOperator<T> {
 public:
  Convolution(const Operators<T>& operators, const Layout& senders, const Layout& message,
              const Radial<T>& radial, const std::vector<ConvolutionPath>& paths)
      : operators_(operators), radial_(radial) {
    for (const ConvolutionPath& path : paths) add(path, senders.segment(path.from), message.segment(path.to));
    pack(paths);
  }

  void forward(EdgeBlock<T>& edges, const EdgeRows<T>& rows, T* receivers, int64_t size) const override {
    const T* couplings = find_couplings(edges);
    T* weights = room(edges.weights, edges_per_block * channels_together);
    for (const Path& path : paths_) {
      for (int first = 0; first < path.channels; first += channels_together) {
        const int n = std::min(channels_together, path.channels - first);
        radial_.weights(edges, path.group, {first, n, 1}, rows.kept, weights, n);
        for (size_t e = 0; e < count(edges); ++e) edges.a[e] = rows.senders[e] + path.sender + first;
        for (const Receiver& receiver : edges.receivers) {
          operators_.convolve(
              {path.n_in, path.n_out, receiver.n, n, weights + receiver.first * n, n,
               edges.a.data() + receiver.first, path.sender_stride,
               couplings + receiver.first * coupling_stride_ + path.coupling, coupling_stride_},
              receivers + receiver.atom * size + path.message + first, path.message_stride);
        }
      }
    }
  }

  void backward(EdgeBlock<T>& edges, const EdgeRows<T>& rows, const T* gradients,
                int64_t size) const override {
    const T* couplings = find_couplings(edges);
    T* weights = room(edges.weights, 2 * edges_per_block * widest_);
    T* back = room(edges.coupling_gradients, edges_per_block * back_stride_);
    const bool with_senders = rows.sender_gradients != nullptr;
    for (const Path& path : paths_) {
      radial_.weights(edges, path.group, {0, path.channels, 2}, rows.kept, weights, path.channels);
      for (size_t e = 0; e < count(edges); ++e) {
        edges.a[e] = rows.senders[e] + path.sender;
        if (with_senders) edges.b[e] = rows.sender_gradients[e] + path.sender;
      }
      for (const Receiver& receiver : edges.receivers) {
        operators_.convolve_back(
            {path.n_in, path.n_out, receiver.n, path.channels, weights + 2 * receiver.first * path.channels,
             path.channels, edges.a.data() + receiver.first, path.sender_stride,
             couplings + receiver.first * coupling_stride_ + path.coupling, coupling_stride_},
            gradients + receiver.atom * size + path.message, path.message_stride,
            with_senders ? edges.b.data() + receiver.first : nullptr,
            back + receiver.first * back_stride_ + path.back, back_stride_);
      }
    }
    for (size_t e = 0; e < count(edges); ++e) {
      const T* of_edge = back + static_cast<std::ptrdiff_t>(e) * back_stride_;
      for (const Path& path : paths_)
        edges.length_gradients[e] += of_edge[path.back + path.n_in * path.n_out];
      edges.a[e] = of_edge;
      edges.c[e] = edges.harmonic_gradients.data() + e * n_harmonics;
    }
    operators_.multiply(edges.n, edges.a.data(), 1, to_harmonics_.rows(), n_harmonics, to_harmonics_.data(),
                        edges.c.data(), true);
  }

 private:
  struct Path {
    int n_in, n_out, channels;
    int64_t sender, sender_stride, message, message_stride;
    size_t group;
    int coupling, back;  ///< offsets in an edge's couplings, and in their gradients
  };

  static size_t count(const EdgeBlock<T>& edges) { return static_cast<size_t>(edges.n); }

  void add(const ConvolutionPath& path, const Segment& from, const Segment& to) {
    using kernels::irreps::largest_degree;
    if (from.degree > largest_degree || to.degree > largest_degree)
      invalid("a convolution from degree ", from.degree, " to ", to.degree, "; at most ", largest_degree);
    if (path.first_channel % kernels::irreps::padding != 0 || path.first_channel < 0 ||
        path.first_channel + from.padded > to.padded)
      invalid("channels ", path.first_channel, " to ", path.first_channel + from.padded,
              " of a message with ", to.padded);
    const auto group = static_cast<size_t>(path.group);
    if (path.group < 0 || group >= radial_.n_groups() || radial_.columns(group) != from.padded)
      invalid("radial functions that do not fit a convolution's path");
    if (path.couplings.rows != n_harmonics || path.couplings.columns != from.rows() * to.rows())
      invalid("couplings (", path.couplings.rows, ", ", path.couplings.columns, ") from degree ", from.degree,
              " to ", to.degree);
    paths_.push_back({from.rows(), to.rows(), from.padded, from.offset, from.padded,
                      to.offset + path.first_channel, to.padded, group, n_couplings_, n_back_});
    n_couplings_ += from.rows() * to.rows();
    n_back_ += from.rows() * to.rows() + 1;  // behind them the gradient of the length
    widest_ = std::max(widest_, from.padded);
  }

  void pack(const std::vector<ConvolutionPath>& paths) {
    std::vector<double> forward(static_cast<size_t>(n_harmonics * n_couplings_));
    std::vector<double> backward(static_cast<size_t>(n_back_ * n_harmonics), 0.0);
    for (size_t p = 0; p < paths.size(); ++p) {
      const Matrix& of_path = paths[p].couplings;
      for (int y = 0; y < n_harmonics; ++y) {
        for (int k = 0; k < of_path.columns; ++k) {
          const double value = of_path.values[y * of_path.columns + k];
          forward[static_cast<size_t>(y * n_couplings_ + paths_[p].coupling + k)] = value;
          backward[static_cast<size_t>((paths_[p].back + k) * n_harmonics + y)] = value;
        }
      }
    }
    from_harmonics_ = PackedMatrix<T>(operators_, {forward.data(), n_harmonics, n_couplings_});
    to_harmonics_ = PackedMatrix<T>(operators_, {backward.data(), n_back_, n_harmonics});
    coupling_stride_ = kernels::irreps::padded(n_couplings_);
    back_stride_ = kernels::irreps::padded(n_back_) + kernels::irreps::padding;
  }

  const T* find_couplings(EdgeBlock<T>& edges) const {
    T* couplings = room(edges.couplings, edges_per_block * coupling_stride_);
    for (size_t e = 0; e < count(edges); ++e) {
      edges.a[e] = edges.harmonics.data() + e * n_harmonics;
      edges.c[e] = couplings + static_cast<std::ptrdiff_t>(e) * coupling_stride_;
    }
    operators_.multiply(edges.n, edges.a.data(), 1, n_harmonics, kernels::irreps::padded(n_couplings_),
                        from_harmonics_.data(), edges.c.data(), false);
    return couplings;
  }

  const Operators<T>& operators_;
  const Radial<T>& radial_;
  std::vector<Path> paths_;
  int n_couplings_ = 0, n_back_ = 0, widest_ = 0;
  std::ptrdiff_t coupling_stride_ = 0, back_stride_ = 0;
  PackedMatrix<T> from_harmonics_, to_harmonics_;
};

}  // namespace

template <class T>
std::unique_ptr<EdgeOperator<T>> convolution(const Operators<T>& operators, const Layout& senders,
                                             const Layout& message, const Radial<T>& radial,
                                             const std::vector<ConvolutionPath>& paths) {
  return std::make_unique<Convolution<T>>(operators, senders, message, radial, paths);
}

template std::unique_ptr<EdgeOperator<float>> convolution(const Operators<float>&, const Layout&,
                                                          const Layout&, const Radial<float>&,
                                                          const std::vector<ConvolutionPath>&);
template std::unique_ptr<EdgeOperator<double>> convolution(const Operators<double>&, const Layout&,
                                                           const Layout&, const Radial<double>&,
                                                           const std::vector<ConvolutionPath>&);

}  // namespace distmlip::native
