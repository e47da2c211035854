// Convolutions in frames of edges by every instruction set, on several threads at once: for sanitizers. What
// is right, the Python tests know; here memory is used as it should be, threads do not meet, and results are
// the same to the last bit.
#include "checked_stages.h"
#include "native/so2/layers.h"
#include "native/so2/stages.h"

using namespace distmlip;
using executor::NativeGraph;
using executor::Tensors;
namespace so2 = native::so2;

namespace {

constexpr int kChannels = 16, kHidden = 32, kCentres = 5, kNeighbors = 9;
constexpr int64_t kAtoms = 70;  // more than two chunks

so2::RadialParameters radial(Weights& weights, int columns, bool with_tables) {
  so2::RadialParameters of;
  of.columns = columns;
  if (with_tables) {
    of.ends = {0.0, 1.0, 1.5, 4.0};
    for (int cell = 0; cell < 3 * 4; ++cell) of.cells.push_back(weights.matrix(6, columns));
    return of;
  }
  for (int k = 0; k < kCentres; ++k) of.centres.push_back(k);
  of.exponent = -0.5;
  of.layers = {weights.matrix(kCentres, 32), weights.matrix(32, 16), weights.matrix(16, columns)};
  of.pair_biases = weights.matrix(4, 32);
  of.biases = {weights.vector(16), weights.vector(columns)};
  of.norms = {{weights.vector(32), weights.vector(32), 1e-5}, {weights.vector(16), weights.vector(16), 1e-5}};
  return of;
}

so2::EdgeParameters edges(Weights& weights, int lmax, int columns, bool with_tables) {
  return {{8, 25}, lmax, kChannels, 4.0, 5, 0.5, radial(weights, columns, with_tables)};
}

so2::LayerParameters layers(Weights& weights, const so2::LayerShape& shape) {
  so2::LayerParameters of;
  of.first = weights.matrix(shape.from_atoms(0), shape.n_gates() + shape.to_hidden(0));
  of.first_bias = weights.vector(of.first.columns);
  for (int l = 0; l <= shape.lmax; ++l) of.second.push_back(weights.matrix(shape.to_hidden(0), kChannels));
  of.second_bias = weights.vector((shape.lmax + 1) * kChannels);
  for (int m = 1; m <= shape.mmax; ++m) {
    const auto matrix = [&] { return weights.matrix(shape.from_atoms(m), shape.to_hidden(m)); };
    of.first_orders.push_back({matrix(), matrix(), matrix()});
    for (auto* second : {&of.second_real, &of.second_imaginary}) {
      second->emplace_back();
      for (int l = m; l <= shape.lmax; ++l)
        second->back().push_back(weights.matrix(shape.to_hidden(m), kChannels));
    }
  }
  return of;
}

/// Atoms in a row, each with the nearest ones; the last ones are of another partition, the first one has no
/// edges.
NativeGraph row(at::ScalarType dtype) {
  std::vector<int64_t> senders, receivers, numbers;
  for (int64_t atom = 0; atom < kAtoms + kNeighbors; ++atom) numbers.push_back(atom % 3 == 0 ? 25 : 8);
  for (int64_t atom = 1; atom < kAtoms; ++atom)
    for (int64_t other = std::max<int64_t>(0, atom - kNeighbors); other <= atom + kNeighbors; ++other)
      if (other != atom) {
        senders.push_back(other);
        receivers.push_back(atom);
      }
  const auto tensor = [](const std::vector<int64_t>& of) { return at::tensor(of, at::kLong); };
  at::manual_seed(5);
  const at::Tensor vectors = at::randn({std::ssize(senders), 3}, at::kDouble) + 0.3;
  return {kAtoms, tensor(numbers), tensor(senders), tensor(receivers), vectors.to(dtype)};
}

void check_in(at::ScalarType dtype) {
  Weights weights;
  const bool is_double = dtype == at::kDouble;
  const NativeGraph graph = row(dtype);
  const int64_t n_local = graph.numbers.numel();
  at::manual_seed(7);
  for (const auto& [lmax, mmax] : {std::pair(2, 2), std::pair(3, 2), std::pair(4, 1)}) {
    const at::Tensor atoms = at::randn({n_local, (lmax + 1) * (lmax + 1), kChannels}, at::kDouble).to(dtype),
                     kept = at::arange(graph.senders.numel(), at::kLong).slice(0, 0, {}, 2).contiguous();
    for (const bool with_tables : {false, true}) {
      const so2::LayerShape shape{lmax, mmax, kChannels, kHidden};
      const auto convolution = so2::convolution_stage(
          is_double, {edges(weights, lmax, shape.radial_columns(), with_tables), mmax, kHidden});
      convolution->use(layers(weights, shape));
      check(*convolution, graph, {{"normed", atoms}, {"kept", kept}});
      check(*so2::degree_stage(is_double, edges(weights, lmax, (lmax + 1) * kChannels, with_tables)), graph,
            {{"kept", kept}});
    }
  }
}

}  // namespace

int main() { return checked_with_every_instruction_set(check_in); }
