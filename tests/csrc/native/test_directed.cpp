// Blocks of gated messages of directed edges by every instruction set, on several threads at once: for
// sanitizers. What is right, the Python tests know; here memory is used as it should be, threads do not meet,
// and results are the same to the last bit.
#include "checked_stages.h"
#include "native/directed/stages.h"

using namespace distmlip;
using executor::NativeGraph;
using executor::Tensors;
namespace directed = native::directed;

namespace {

constexpr int kAtomChannels = 16, kEdgeChannels = 32, kAngleChannels = 16, kHidden = 16, kColumns = 6;
constexpr int64_t kAtoms = 300;  // more than a chunk

/// With two hidden layers.
directed::LayerParameters layer(Weights& weights, const std::vector<int>& sources, int own, int channels) {
  directed::LayerParameters of;
  for (const int width : sources) of.sources.push_back(weights.matrix(width, 2 * kHidden));
  of.own = weights.matrix(own, 2 * kHidden);
  of.bias = weights.vector(2 * kHidden);
  of.perceptron.hidden = {weights.matrix(kHidden, kHidden), weights.matrix(kHidden, kHidden),
                          weights.matrix(kHidden, channels), weights.matrix(kHidden, channels)};
  of.perceptron.bias = weights.vector(2 * kHidden + 2 * channels);
  of.perceptron.scales = weights.vector(2 * channels);
  of.perceptron.shifts = weights.vector(2 * channels);
  of.perceptron.epsilon = 1e-3;
  return of;
}

directed::LayerParameters layer_of_angles(Weights& weights, int channels) {
  return layer(weights, {kEdgeChannels, kEdgeChannels, kAtomChannels}, kAngleChannels, channels);
}

directed::TableParameters tables(Weights& weights, const std::vector<int>& columns) {
  directed::TableParameters of{{0.0, 0.9, 1.3, 4.0}, columns, {}};
  int width = 0;
  for (const int n : columns) width += n;
  for (int cell = 0; cell < 3; ++cell) of.cells.push_back(weights.matrix(5, width));
  return of;
}

directed::NormParameters norm(Weights& weights, int channels) {
  return {weights.vector(channels), weights.vector(channels), 1e-3};
}

directed::NodeParameters nodes(Weights& weights, int group) {
  return {{layer_of_angles(weights, kEdgeChannels), group}, weights.matrix(kEdgeChannels, kEdgeChannels)};
}

directed::BlockParameters block(Weights& weights) {
  directed::BlockParameters of;
  of.atoms = kAtomChannels;
  of.edges = kEdgeChannels;
  of.messages = {layer(weights, {kAtomChannels, kAtomChannels}, kEdgeChannels, kAtomChannels), 0};
  of.edge_update = {layer(weights, {kAtomChannels, kAtomChannels}, kEdgeChannels, kEdgeChannels), 1};
  return of;
}

/// M3GNet's kind: sums over edges, or over pairs of them.
directed::BlockParameters with_three_body(Weights& weights, bool by_pairs) {
  directed::BlockParameters of = block(weights);
  of.tables = tables(weights, {kAtomChannels, kEdgeChannels, kColumns + 1});
  directed::ThreeBodyParameters sums;
  sums.functions = {{{1.0}, 0}, {{0.0, 3.0}, 0}, {{-2.5, 0.0, 7.5}, 0}};
  sums.of_column = {0, 0, 1, 1, 2, 2};
  if (!by_pairs) sums.degrees = {0, 1, 2};
  sums.margin = 0.05;  // so that many angles are kept away from straight ones
  sums.functions_of_length = 2;
  sums.layer = layer(weights, {}, 16, kEdgeChannels);
  of.three_body = sums;
  of.end_atoms = directed::EndAtomParameters{weights.matrix(kAtomChannels, 16), weights.vector(kColumns)};
  of.gives_edges = true;
  return of;
}

/// CHGNet's kind.
directed::BlockParameters with_line_graph(Weights& weights, bool with_nodes) {
  directed::BlockParameters of = block(weights);
  of.tables = tables(weights, {kAtomChannels, kEdgeChannels, kEdgeChannels, kEdgeChannels});
  of.has_nodes = true;
  of.angles = layer_of_angles(weights, kAngleChannels);
  of.out = weights.matrix(kAtomChannels, kAtomChannels);
  of.atom_norm = norm(weights, kAtomChannels);
  if (with_nodes) {
    of.embedding = 3;
    of.nodes = nodes(weights, 2);
  } else {
    of.edge_norm = norm(weights, kEdgeChannels);
    of.gives_edges = of.gives_crossing = true;
  }
  return of;
}

/// A ring of atoms, each bonded to the two next ones on either side; the bonds to the next one are short. One
/// end of the ring is in another partition: there short bonds are cut.
NativeGraph ring(at::ScalarType dtype) {
  std::vector<int64_t> senders, receivers, edge_bond, bond_edge(2 * (kAtoms + 2), -1), pairs, cut;
  const int64_t steps[] = {-2, -1, 1, 2}, n_local = kAtoms + 2;
  for (int64_t atom = 0; atom < kAtoms; ++atom) {
    const int64_t first = std::ssize(senders);
    for (const int64_t step : steps) {
      const int64_t other = (atom + step + n_local) % n_local, lower = step > 0 ? atom : other;
      const int64_t bond = 2 * lower + (std::abs(step) == 1 ? 0 : 1);
      int64_t& edge = bond_edge[static_cast<size_t>(bond)];
      if (edge < 0) edge = std::ssize(senders);
      if (other >= kAtoms && std::abs(step) == 1) cut.push_back(bond);
      senders.push_back(other);
      receivers.push_back(atom);
      edge_bond.push_back(bond);
    }
    for (const int64_t number : {first + 1, first + 2, first + 2, first + 1}) pairs.push_back(number);
  }
  // Without the bonds that no edge here belongs to.
  std::vector<int64_t> row_of(bond_edge.size(), -1), edges, all_short;
  for (size_t bond = 0; bond < bond_edge.size(); ++bond) {
    if (bond_edge[bond] < 0) continue;
    row_of[bond] = std::ssize(edges);
    if (bond % 2 == 0) all_short.push_back(row_of[bond]);
    edges.push_back(bond_edge[bond]);
  }
  for (int64_t& bond : edge_bond) bond = row_of[static_cast<size_t>(bond)];
  for (int64_t& bond : cut) bond = row_of[static_cast<size_t>(bond)];
  const auto tensor = [](const std::vector<int64_t>& of) { return at::tensor(of, at::kLong); };
  at::manual_seed(5);
  const at::Tensor vectors = at::rand({std::ssize(senders), 3}, at::kDouble) + 0.3;
  NativeGraph graph{kAtoms, at::full({n_local}, 8, at::kLong), tensor(senders), tensor(receivers),
                    vectors.to(dtype)};
  graph.bonds = executor::NativeBonds{tensor(edge_bond),           tensor(edges), tensor(all_short),
                                      tensor(pairs).view({-1, 2}), tensor(cut),   2 * kAtoms};
  return graph;
}

Tensors inputs(const NativeGraph& graph, bool of_line_graph) {
  at::manual_seed(7);
  const auto rows = [&](int64_t n, int width) {
    return at::randn({n, width}, at::kDouble).to(graph.vectors.scalar_type());
  };
  const int64_t n_local = graph.numbers.numel(), n_edges = graph.senders.numel(),
                n_cut = graph.bonds->cut.numel();
  Tensors given{{"atoms", rows(n_local, kAtomChannels)}, {"edges", rows(n_edges, kEdgeChannels)}};
  if (!of_line_graph) {
    given["end_atoms"] = rows(n_local, kColumns);
    return given;
  }
  given["angles"] = rows(graph.bonds->angles.size(0), kAngleChannels);
  given["crossing"] = rows(n_cut, kEdgeChannels);
  given["nodes"] = rows(2 * kAtoms, kEdgeChannels);
  return given;
}

template <class T>
void check_in(at::ScalarType dtype) {
  Weights weights;
  const NativeGraph graph = ring(dtype);
  for (const bool by_pairs : {false, true})
    check(directed::BlockStage<T>(with_three_body(weights, by_pairs)), graph, inputs(graph, false));
  Tensors given = inputs(graph, true);
  for (const bool with_nodes : {false, true})
    check(directed::BlockStage<T>(with_line_graph(weights, with_nodes)), graph, given);
  given["atoms"] = given["atoms"].narrow(0, 0, kAtoms);
  check(directed::NodeStage<T>({tables(weights, {kEdgeChannels}), nodes(weights, 0)}), graph, given);
  check(directed::AngleStage<T>({{0.0, 1.0, 2.0}, weights.matrix(32, kAngleChannels), 1e-7}), graph, {});
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
