#include <algorithm>
#include <tuple>

#include "core/error.h"
#include "native/node_operators.h"

namespace distmlip::native {

namespace {

using Monomial = std::tuple<int, std::vector<int>>;  // output, inputs

/// Throws std::invalid_argument unless it may follow the one before.
void require_next(size_t k, const Monomial& now, const Monomial& before, int n_outputs, int n_inputs) {
  const auto& [output, of] = now;
  const bool in_range = std::all_of(of.begin(), of.end(), [&](int i) { return 0 <= i && i < n_inputs; });
  if (now <= before || output < 0 || output >= n_outputs || of.empty() || of.size() > 3 || !in_range)
    invalid("monomial ", k, " of a contraction is out of order or out of range");
}

}  // namespace

MonomialLists monomial_lists(const std::vector<int>& outputs, const std::vector<std::vector<int>>& inputs,
                             int n_outputs, int n_inputs) {
  if (outputs.size() != inputs.size()) invalid(outputs.size(), " outputs of ", inputs.size(), " monomials");
  if (n_inputs < 1 || n_inputs > kernels::most_monomial_inputs)
    invalid("a contraction of ", n_inputs, " inputs");
  MonomialLists lists;
  lists.n_firsts.assign(static_cast<size_t>(n_outputs), 0);
  lists.n_coefficients = static_cast<int>(outputs.size());
  lists.n_inputs = n_inputs;
  Monomial before{-1, {}};
  for (size_t k = 0; k < outputs.size(); ++k) {
    const std::vector<int>& of = inputs[k];
    Monomial now{outputs[k], of};
    require_next(k, now, before, n_outputs, n_inputs);
    const auto& [output, last] = before;
    const bool same_first = output == outputs[k] && !last.empty() && last[0] == of[0];
    const bool same_pair = same_first && last.size() > 1 && of.size() > 1 && last[1] == of[1];
    if (!same_first) {
      ++lists.n_firsts[static_cast<size_t>(outputs[k])];
      lists.firsts.push_back({static_cast<int16_t>(of[0]), 0, of.size() == 1});
    }
    if (of.size() > 1 && !same_pair) {
      ++lists.firsts.back().n_pairs;
      lists.pairs.push_back({static_cast<int16_t>(of[1]), 0, of.size() == 2});
    }
    if (of.size() == 3) {
      ++lists.pairs.back().n_triples;
      lists.triples.push_back(static_cast<int16_t>(of[2]));
    }
    before = std::move(now);
  }
  return lists;
}

namespace {

template <class T>
class Contraction : public NodeOperator<T> {
 public:
  Contraction(const Operators<T>& operators, const std::vector<Register>& registers, int from, int to,
              MonomialLists lists, const std::vector<Matrix>& coefficients)
      : operators_(operators), lists_(std::move(lists)) {
    this->reads = {{from}};
    this->writes = to;
    const Layout &in = registers.at(static_cast<size_t>(from)).layout,
                 &out = registers.at(static_cast<size_t>(to)).layout;
    channels_ = in.segment(0).channels;
    stride_ = in.segment(0).padded;
    size_ = in.size();
    for (const Layout* layout : {&in, &out})
      for (const Segment& segment : layout->segments())
        if (segment.channels != channels_) invalid("a contraction of segments with different channels");
    if (in.size() != stride_ * lists_.n_inputs ||
        out.size() != stride_ * static_cast<int64_t>(lists_.n_firsts.size()))
      invalid("a contraction whose monomials do not fit its rows");
    for (const Matrix& of_species : coefficients) coefficients_.push_back(packed(of_species));
  }

  void forward(Block<T>& block) const override {
    for_each_species(
        block,
        [&](size_t s, int n) {
          operators_.contract(monomials(), n, stride(), lists_.n_coefficients, coefficients_[s].data(),
                              block.a.data(), stride_, block.c.data(), stride_);
        },
        &Block<T>::value, &Block<T>::value);
  }

  void backward(Block<T>& block) const override {
    if (!this->reads[0].accumulate)
      for (int atom = 0; atom < block.n; ++atom)
        std::fill_n(block.gradient(this->reads[0].of, atom), size_, T(0));
    for_each_species(
        block,
        [&](size_t s, int n) {
          block.b.clear();
          for (int k = 0; k < n; ++k)
            block.b.push_back(block.gradient(this->reads[0].of,
                                             block.by_species[static_cast<size_t>(block.first_atom[s] + k)]));
          operators_.contract_back(monomials(), n, stride(), lists_.n_coefficients, coefficients_[s].data(),
                                   block.a.data(), stride_, block.c.data(), stride_, block.b.data());
        },
        &Block<T>::value, &Block<T>::gradient);
  }

 private:
  int stride() const { return static_cast<int>(stride_); }

  kernels::Monomials monomials() const {
    return {lists_.n_firsts.data(),
            lists_.firsts.data(),
            lists_.pairs.data(),
            lists_.triples.data(),
            static_cast<int>(lists_.n_firsts.size()),
            lists_.n_inputs};
  }

  /// [block of a vector's channels][monomial][vector]
  Buffer<T> packed(const Matrix& of_species) const {
    if (of_species.rows != lists_.n_coefficients || of_species.columns != channels_)
      invalid("coefficients (", of_species.rows, ", ", of_species.columns, ") of a contraction with ",
              lists_.n_coefficients, " monomials and ", channels_, " channels");
    Buffer<T> to(static_cast<size_t>(stride_ * lists_.n_coefficients + slack));
    T* next = to.data();
    for (int first = 0; first < stride_; first += operators_.n_lanes)
      for (int k = 0; k < lists_.n_coefficients; ++k)
        for (int c = first; c < first + operators_.n_lanes; ++c)
          *next++ = c < channels_ ? static_cast<T>(of_species.values[k * channels_ + c]) : T(0);
    return to;
  }

  using Rows = T* (Block<T>::*)(int of, int atom);
  template <class F>
  void for_each_species(Block<T>& block, F f, Rows in, Rows out) const {
    for (size_t s = 0; s < coefficients_.size(); ++s) {
      block.a.clear();
      block.c.clear();
      for (int k = block.first_atom[s]; k < block.first_atom[s + 1]; ++k) {
        const int atom = block.by_species[static_cast<size_t>(k)];
        block.a.push_back((block.*in)(this->reads[0].of, atom));
        block.c.push_back((block.*out)(this->writes, atom));
      }
      if (!block.a.empty()) f(s, static_cast<int>(block.a.size()));
    }
  }

  const Operators<T>& operators_;
  const MonomialLists lists_;
  int channels_ = 0;
  int64_t stride_ = 0, size_ = 0;
  std::vector<Buffer<T>> coefficients_;
};

}  // namespace

template <class T>
std::unique_ptr<NodeOperator<T>> contraction(const Operators<T>& operators,
                                             const std::vector<Register>& registers, int from, int to,
                                             MonomialLists lists, const std::vector<Matrix>& coefficients) {
  return std::make_unique<Contraction<T>>(operators, registers, from, to, std::move(lists), coefficients);
}

template std::unique_ptr<NodeOperator<float>> contraction(const Operators<float>&,
                                                          const std::vector<Register>&, int, int,
                                                          MonomialLists, const std::vector<Matrix>&);
template std::unique_ptr<NodeOperator<double>> contraction(const Operators<double>&,
                                                           const std::vector<Register>&, int, int,
                                                           MonomialLists, const std::vector<Matrix>&);

}  // namespace distmlip::native
