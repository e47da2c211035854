#include "core/error.h"
#include "native/node_operators.h"

namespace distmlip::native {
namespace {

template <class T>
class Linear : public NodeOperator<T> {
 public:
  Linear(const Operators<T>& operators, const std::vector<Register>& registers, int from, int to, bool adds,
         int n_species, const std::vector<LinearMap>& maps)
      : operators_(operators),
        from_(registers.at(static_cast<size_t>(from)).layout),
        to_(registers.at(static_cast<size_t>(to)).layout),
        adds_(adds),
        n_species_(n_species) {
    this->reads = {{from}};
    this->writes = to;
    for (const LinearMap& map : maps) add(map);
  }

  void forward(Block<T>& block) const override {
    std::vector<bool> written(to_.segments().size(), adds_);
    for (const Packed& map : maps_) {
      run(block, map, map.forward, map.from, map.to, written[map.index_to], &Block<T>::value);
      written[map.index_to] = true;
    }
    for (size_t k = 0; k < written.size(); ++k)
      if (!written[k]) clear(block, to_.segments()[k], this->writes, &Block<T>::value);
  }

  void backward(Block<T>& block) const override {
    std::vector<bool> written(from_.segments().size(), this->reads[0].accumulate);
    for (const Packed& map : maps_) {
      run(block, map, map.backward, map.to, map.from, written[map.index_from], &Block<T>::gradient);
      written[map.index_from] = true;
    }
    for (size_t k = 0; k < written.size(); ++k)
      if (!written[k]) clear(block, from_.segments()[k], this->reads[0].of, &Block<T>::gradient);
  }

 private:
  using Rows = T* (Block<T>::*)(int of, int atom);

  struct Packed {
    Segment from, to;
    size_t index_from, index_to;
    std::vector<PackedMatrix<T>> forward, backward;
  };

  void add(const LinearMap& map) {
    const Segment &from = from_.segment(map.from), &to = to_.segment(map.to);
    if (from.degree != to.degree) invalid("a linear map from degree ", from.degree, " to ", to.degree);
    if (map.weights.size() != 1 && map.weights.size() != static_cast<size_t>(n_species_))
      invalid("a linear map with ", map.weights.size(), " matrices for ", n_species_, " species");
    Packed packed{from, to, static_cast<size_t>(map.from), static_cast<size_t>(map.to), {}, {}};
    for (const Matrix& weights : map.weights) {
      if (weights.rows != from.channels || weights.columns != to.channels)
        invalid("a linear map with a matrix (", weights.rows, ", ", weights.columns, ") from ", from.channels,
                " to ", to.channels, " channels");
      packed.forward.emplace_back(operators_, weights);
      packed.backward.push_back(PackedMatrix<T>::transposed(operators_, weights));
    }
    maps_.push_back(std::move(packed));
  }

  void run(Block<T>& block, const Packed& map, const std::vector<PackedMatrix<T>>& matrices,
           const Segment& in, const Segment& out, bool accumulate, Rows rows) const {
    const bool back = &in == &map.to;
    const int source = back ? this->writes : this->reads[0].of,
              target = back ? this->reads[0].of : this->writes;
    for (size_t s = 0; s < matrices.size(); ++s) {
      const int first = matrices.size() == 1 ? 0 : block.first_atom[s];
      const int last = matrices.size() == 1 ? block.n : block.first_atom[s + 1];
      block.a.clear();
      block.c.clear();
      for (int k = first; k < last; ++k) {
        const int atom = block.by_species[static_cast<size_t>(k)];
        for (int m = 0; m < in.rows(); ++m) {
          block.a.push_back((block.*rows)(source, atom) + in.row(m));
          block.c.push_back((block.*rows)(target, atom) + out.row(m));
        }
      }
      matrices[s].multiply(operators_, block.a, block.c.data(), accumulate);
    }
  }

  static void clear(Block<T>& block, const Segment& segment, int of, Rows rows) {
    for (int atom = 0; atom < block.n; ++atom)
      std::fill_n((block.*rows)(of, atom) + segment.offset, segment.rows() * segment.padded, T(0));
  }

  const Operators<T>& operators_;
  const Layout from_, to_;
  const bool adds_;
  const int n_species_;
  std::vector<Packed> maps_;
};

}  // namespace

template <class T>
std::unique_ptr<NodeOperator<T>> linear(const Operators<T>& operators, const std::vector<Register>& registers,
                                        int from, int to, bool adds, int n_species,
                                        const std::vector<LinearMap>& maps) {
  return std::make_unique<Linear<T>>(operators, registers, from, to, adds, n_species, maps);
}

template std::unique_ptr<NodeOperator<float>> linear(const Operators<float>&, const std::vector<Register>&,
                                                     int, int, bool, int, const std::vector<LinearMap>&);
template std::unique_ptr<NodeOperator<double>> linear(const Operators<double>&, const std::vector<Register>&,
                                                      int, int, bool, int, const std::vector<LinearMap>&);

}  // namespace distmlip::native
