// Blocks of gated messages by every instruction set, on several threads at once: for sanitizers. What is
// right, the Python tests know; here memory is used as it should be, threads do not meet, and results are the
// same to the last bit.
#include "checked_stages.h"
#include "native/gated/stages.h"

using namespace distmlip;
using executor::NativeGraph;
using executor::Tensors;
namespace gated = native::gated;

namespace {

constexpr int kChannels = 16, kHidden = 32;
constexpr int64_t kAtoms = 300;  // more than a chunk

gated::PerceptronParameters perceptron(Weights& weights, bool has_hidden) {
  gated::PerceptronParameters of;
  if (has_hidden) {
    of.hidden = {weights.matrix(kHidden, kChannels), weights.matrix(kHidden, kChannels)};
    of.bias = weights.vector(2 * kChannels);
  }
  of.scales = weights.vector(2 * kChannels);
  of.shifts = weights.vector(2 * kChannels);
  of.epsilon = 1e-5;
  return of;
}

gated::AngleParameters angles(Weights& weights, bool has_hidden) {
  const int sums = 2 * (has_hidden ? kHidden : kChannels);
  return {weights.matrix(kChannels, sums),
          weights.matrix(kChannels, sums),
          weights.matrix(kChannels, sums),
          weights.matrix(kChannels, sums),
          weights.vector(sums),
          perceptron(weights, has_hidden)};
}

gated::BlockParameters third_block(Weights& weights) {
  gated::BlockParameters of;
  of.index = 2;
  of.channels = kChannels;
  of.basis.bonds = {{0.5, 1.0, 1.5}, 0.7, {native::Envelope::Kind::none}, {}};
  of.basis.short_bonds = of.basis.bonds;
  of.basis.angle_frequencies = {1, 2, 3, 0};
  of.basis.bond_embedding = weights.matrix(16, kChannels);
  of.basis.bond_weights = weights.matrix(16, kChannels);
  of.basis.short_weights = weights.matrix(16, kChannels);
  of.basis.angle_embedding = weights.matrix(32, kChannels);
  of.previous = gated::BondUpdate{weights.matrix(kChannels, kChannels), weights.vector(kChannels)};
  of.embedding_shift = weights.vector(kChannels);
  of.atoms = {weights.matrix(kChannels, 2 * kHidden),
              weights.matrix(kChannels, 2 * kHidden),
              weights.matrix(kChannels, 2 * kHidden),
              weights.vector(2 * kHidden),
              weights.matrix(kChannels, kChannels),
              weights.vector(kChannels),
              perceptron(weights, true)};
  of.bonds = angles(weights, true);
  of.angles = {angles(weights, false), angles(weights, false)};
  of.keeps_atoms = of.keeps_bonds = true;
  return of;
}

/// A ring of atoms, each bonded to the two next ones on either side; the bonds to the next one are short.
NativeGraph ring(at::ScalarType dtype) {
  std::vector<int64_t> senders, receivers, edge_bond, bond_edge(2 * kAtoms, -1), all_short, pairs;
  const int64_t steps[] = {-2, -1, 1, 2};
  for (int64_t atom = 0; atom < kAtoms; ++atom) {
    const int64_t first = std::ssize(senders);
    for (const int64_t step : steps) {
      const int64_t other = (atom + step + kAtoms) % kAtoms, lower = step > 0 ? atom : other;
      const int64_t bond = 2 * lower + (std::abs(step) == 1 ? 0 : 1);
      if (bond_edge[static_cast<size_t>(bond)] < 0)
        bond_edge[static_cast<size_t>(bond)] = std::ssize(senders);
      senders.push_back(other);
      receivers.push_back(atom);
      edge_bond.push_back(bond);
    }
    for (const int64_t number : {first + 1, first + 2, first + 2, first + 1}) pairs.push_back(number);
    all_short.push_back(2 * atom);
  }
  const auto tensor = [](const std::vector<int64_t>& of) { return at::tensor(of, at::kLong); };
  at::manual_seed(5);
  const at::Tensor vectors = at::rand({std::ssize(senders), 3}, at::kDouble) + 0.3;
  NativeGraph graph{kAtoms, at::full({kAtoms}, 8, at::kLong), tensor(senders), tensor(receivers),
                    vectors.to(dtype)};
  graph.bonds = executor::NativeBonds{tensor(edge_bond),           tensor(bond_edge), tensor(all_short),
                                      tensor(pairs).view({-1, 2}), tensor({0, 2, 4}), 2 * kAtoms};
  return graph;
}

Tensors inputs(at::ScalarType dtype) {
  at::manual_seed(7);
  const auto rows = [&](int64_t n) { return at::randn({n, kChannels}, at::kDouble).to(dtype); };
  return {{"atoms", rows(kAtoms)},
          {"bond_messages", rows(kAtoms)},
          {"cut_messages", rows(3)},
          {"atoms 1", rows(kAtoms)},
          {"bonds 1", rows(kAtoms)}};
}

template <class T>
void check_in(at::ScalarType dtype) {
  Weights weights;
  const gated::BlockStage<T> stage(third_block(weights));
  const NativeGraph graph = ring(dtype);
  check(stage, graph, inputs(dtype));
}

}  // namespace

int main() {
  return checked_with_every_instruction_set([](at::ScalarType dtype) {
    if (dtype == at::kFloat)
      check_in<float>(dtype);
    else
      check_in<double>(dtype);
  });
}
