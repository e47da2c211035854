#include "core/error.h"
#include "native/node_operators.h"

namespace distmlip::native {
namespace {

/// An activation of a row of scalars: values and slopes.
template <class T>
void activate(const Operators<T>& operators, const Gated& gated, const T* x, int n, T* value, T* slope) {
  const T factor = static_cast<T>(gated.factor);
  switch (gated.activation) {
    case Activation::silu:
      operators.silu(n, x, factor, value, slope);
      break;
    case Activation::tanh:
      operators.tanh(n, x, factor, value, slope);
      break;
    case Activation::sigmoid:  // (1 + tanh(x / 2)) / 2
      for (int c = 0; c < n; ++c) slope[c] = x[c] / 2;
      operators.tanh(n, slope, factor / 2, value, slope);
      for (int c = 0; c < n; ++c) {
        value[c] += factor / 2;
        slope[c] /= 2;
      }
      break;
    default:
      for (int c = 0; c < n; ++c) {
        value[c] = factor * x[c];
        slope[c] = factor;
      }
  }
}

template <class T>
class Gate : public NodeOperator<T> {
 public:
  Gate(const Operators<T>& operators, const std::vector<Register>& registers, int from, int to,
       const std::vector<Gated>& segments)
      : operators_(operators),
        from_(registers.at(static_cast<size_t>(from)).layout),
        to_(registers.at(static_cast<size_t>(to)).layout),
        segments_(segments) {
    this->reads = {{from}};
    this->writes = to;
    for (const Gated& gated : segments_) {
      const Segment &in = from_.segment(gated.from), &out = to_.segment(gated.to),
                    &gates = gated.gate < 0 ? in : from_.segment(gated.gate);
      if (in.degree != out.degree || in.channels != out.channels || gates.degree != 0 ||
          gates.channels != in.channels)
        invalid("a gate whose segments do not fit");
      widest_ = std::max(widest_, gates.padded);
    }
  }

  void forward(Block<T>& block) const override {
    std::vector<T> value(static_cast<size_t>(widest_)), slope(value);
    for (int atom = 0; atom < block.n; ++atom) {
      const T* in = block.value(this->reads[0].of, atom);
      T* out = block.value(this->writes, atom);
      for (const Gated& gated : segments_) {
        const Segment &from = from_.segment(gated.from), &to = to_.segment(gated.to);
        if (gated.gate < 0) {
          activate(operators_, gated, in + from.offset, from.padded, out + to.offset, slope.data());
          continue;
        }
        activate(operators_, gated, in + from_.segment(gated.gate).offset, from.padded, value.data(),
                 slope.data());
        for (int m = 0; m < from.rows(); ++m)
          for (int c = 0; c < from.padded; ++c)
            out[to.row(m) + c] = in[from.row(m) + c] * value[static_cast<size_t>(c)];
      }
    }
  }

  void backward(Block<T>& block) const override {
    std::vector<T> value(static_cast<size_t>(widest_)), slope(value);
    for (int atom = 0; atom < block.n; ++atom) {
      const T *in = block.value(this->reads[0].of, atom), *g = block.gradient(this->writes, atom);
      T* back = block.gradient(this->reads[0].of, atom);
      if (!this->reads[0].accumulate) std::fill_n(back, from_.size(), T(0));
      for (const Gated& gated : segments_) {
        const Segment &from = from_.segment(gated.from), &to = to_.segment(gated.to),
                      &gates = gated.gate < 0 ? from : from_.segment(gated.gate);
        activate(operators_, gated, in + gates.offset, gates.padded, value.data(), slope.data());
        for (int m = 0; m < from.rows(); ++m) {
          for (int c = 0; c < from.padded; ++c) {
            const T through = g[to.row(m) + c];
            if (gated.gate >= 0) back[from.row(m) + c] += through * value[static_cast<size_t>(c)];
            back[gates.offset + c] +=
                through * slope[static_cast<size_t>(c)] * (gated.gate >= 0 ? in[from.row(m) + c] : T(1));
          }
        }
      }
    }
  }

 private:
  const Operators<T>& operators_;
  const Layout from_, to_;
  const std::vector<Gated> segments_;
  int widest_ = 0;
};

template <class T>
class Normalised : public NodeOperator<T> {
 public:
  Normalised(const std::vector<Register>& registers, int from, int density, int to)
      : size_(registers.at(static_cast<size_t>(from)).layout.size()),
        density_size_(registers.at(static_cast<size_t>(density)).layout.size()) {
    this->reads = {{from}, {density}};
    this->writes = to;
    if (size_ != registers.at(static_cast<size_t>(to)).layout.size())
      invalid("rows and normalised rows of different layouts");
  }

  void forward(Block<T>& block) const override {
    for (int atom = 0; atom < block.n; ++atom) {
      const T* in = block.value(this->reads[0].of, atom);
      const T scale = 1 / (1 + *block.value(this->reads[1].of, atom));
      T* out = block.value(this->writes, atom);
      for (int64_t k = 0; k < size_; ++k) out[k] = in[k] * scale;
    }
  }

  void backward(Block<T>& block) const override {
    const auto& [of_rows, of_density] = std::pair(this->reads[0], this->reads[1]);
    for (int atom = 0; atom < block.n; ++atom) {
      const T *out = block.value(this->writes, atom), *g = block.gradient(this->writes, atom);
      const T scale = 1 / (1 + *block.value(of_density.of, atom));
      T* back = block.gradient(of_rows.of, atom);
      T along = 0;
      for (int64_t k = 0; k < size_; ++k) {
        back[k] = g[k] * scale + (of_rows.accumulate ? back[k] : T(0));
        along += g[k] * out[k];
      }
      T* to_density = block.gradient(of_density.of, atom);
      if (!of_density.accumulate) std::fill_n(to_density, density_size_, T(0));
      *to_density -= along * scale;
    }
  }

 private:
  const int64_t size_, density_size_;
};

}  // namespace

template <class T>
std::unique_ptr<NodeOperator<T>> gate(const Operators<T>& operators, const std::vector<Register>& registers,
                                      int from, int to, const std::vector<Gated>& segments) {
  return std::make_unique<Gate<T>>(operators, registers, from, to, segments);
}

template <class T>
std::unique_ptr<NodeOperator<T>> normalised(const std::vector<Register>& registers, int from, int density,
                                            int to) {
  return std::make_unique<Normalised<T>>(registers, from, density, to);
}

template std::unique_ptr<NodeOperator<float>> gate(const Operators<float>&, const std::vector<Register>&, int,
                                                   int, const std::vector<Gated>&);
template std::unique_ptr<NodeOperator<double>> gate(const Operators<double>&, const std::vector<Register>&,
                                                    int, int, const std::vector<Gated>&);
template std::unique_ptr<NodeOperator<float>> normalised(const std::vector<Register>&, int, int, int);
template std::unique_ptr<NodeOperator<double>> normalised(const std::vector<Register>&, int, int, int);

}  // namespace distmlip::native
