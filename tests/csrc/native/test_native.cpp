// Native stages of all operators, by every instruction set, on several threads at once: for sanitizers. What
// is right, the Python tests know; here memory is used as it should be, threads do not meet, results are the
// same to the last bit, and gradients are slopes of the energy.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <cmath>
#include <cstdio>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "native/stage_builder.h"

using namespace distmlip;
using executor::NativeGraph;
using executor::Tensors;

namespace {

constexpr int kChannels = 20;
constexpr double kCutoff = 4.0;

void require(bool holds, const std::string& what) {
  if (!holds) throw std::logic_error(what);
}

/// Random matrices that live as long as the building of a stage.
class Weights {
 public:
  native::Matrix matrix(int rows, int columns) {
    std::vector<double> values(static_cast<size_t>(rows * columns));
    for (double& value : values) value = uniform_(random_);
    all_.push_back(std::make_unique<std::vector<double>>(std::move(values)));
    return {all_.back()->data(), rows, columns};
  }

 private:
  std::mt19937 random_{3};
  std::uniform_real_distribution<double> uniform_{-0.5, 0.5};
  std::vector<std::unique_ptr<std::vector<double>>> all_;
};

native::RadialBasis basis() {
  native::RadialBasis of{{M_PI / kCutoff, 2 * M_PI / kCutoff, 3 * M_PI / kCutoff}, 0.7, {}, {}};
  of.envelope.cutoff = kCutoff;
  of.transform = native::Agnesi{1.0805, 0.9183, 4.5791, {1.0, 1.1, 1.1, 1.2}};
  return of;
}

template <class T>
int radial(native::StageBuilder<T>& builder, Weights& weights, bool with_tables,
           const std::vector<int>& columns) {
  int width = 0;
  for (const int of_group : columns) width += of_group;
  if (with_tables) {
    native::RadialTables tables{8, columns, {0, 1, 1, 2}, {}};
    for (int cell = 0; cell < 3 * 6; ++cell) tables.cells.push_back(weights.matrix(8, width));
    return builder.tables(tables);
  }
  std::vector<native::Matrix> groups;
  for (const int of_group : columns) groups.push_back(weights.matrix(9, of_group));
  return builder.network({basis(),
                          {weights.matrix(3, 12), weights.matrix(12, 9)},
                          1.6,
                          native::RadialNetwork::Functions::groups,
                          groups});
}

template <class T>
std::shared_ptr<executor::NativeStage> stage_of(bool with_tables) {
  Weights weights;
  native::StageBuilder<T> builder({1, 8}, -1, native::Cells({0.0, 0.5, 1.0, 1.5, 2.0, 3.0, kCutoff}));
  const native::Layout sent({{0, kChannels}, {1, kChannels}, {3, kChannels}}), message({{0, 64}, {2, 64}});
  const int x = builder.input("x", sent, /*of_senders=*/true);
  const int own = builder.input("own", native::Layout({{0, 3}}), /*of_senders=*/false);
  std::vector<native::ConvolutionPath> paths;
  const int to[] = {0, 1, 0, 1};
  const int from[] = {0, 0, 1, 2};
  for (int p = 0; p < 4; ++p) {
    const int n = (from[p] == 2 ? 7 : 2 * from[p] + 1) * (to[p] == 0 ? 1 : 5);
    paths.push_back({from[p], to[p], p < 2 ? 0 : 32, p, weights.matrix(16, n)});
  }
  const int convolved = builder.convolution(
      x, radial(builder, weights, with_tables, std::vector<int>(4, kChannels)), message, paths);
  const native::Layout narrow({{0, kChannels}, {2, kChannels}});
  int rows = builder.linear(convolved, narrow,
                            {{0, 0, {weights.matrix(64, kChannels)}},
                             {1, 1, {weights.matrix(64, kChannels), weights.matrix(64, kChannels)}}});
  const int density =
      with_tables
          ? radial(builder, weights, true, {1})
          : builder.network({basis(), {weights.matrix(3, 1)}, 1, native::RadialNetwork::Functions::density});
  const int summed = builder.edge_sum(density);
  const int squared = builder.contraction(summed, native::Layout({{0, 16}}), {0}, {{0, 0}},
                                          {weights.matrix(1, 16), weights.matrix(1, 16)});
  rows =
      builder.contraction(rows, narrow, {0, 0, 0, 1, 3, 5}, {{0}, {0, 1}, {1, 1, 2}, {0, 1}, {3}, {4, 5, 5}},
                          {weights.matrix(6, kChannels), weights.matrix(6, kChannels)});
  rows = builder.gate(rows, narrow,
                      {{0, 0, -1, native::Activation::silu, 1.6}, {1, 1, 0, native::Activation::tanh, 0.8}});
  const int energy = builder.repulsion(
      {{14.4, 115, 115, 921}, {0.2, 0.15, 0.15, 0.1}, {2, 2, 2, 3}, {0.6, 0.4}, {3.2, 0.9}, 6});
  builder.add_linear(rows, energy, {{0, 0, {weights.matrix(kChannels, 1)}}});
  builder.add_linear(squared, energy, {{0, 0, {weights.matrix(16, 1)}}});
  builder.add_linear(own, energy, {{0, 0, {weights.matrix(3, 1), weights.matrix(3, 1)}}});
  const int functions =
      with_tables ? radial(builder, weights, true, {16})
                  : builder.network(
                        {basis(), {weights.matrix(3, 16)}, 1.6, native::RadialNetwork::Functions::hidden});
  const int expanded = builder.expansion(functions, native::Layout({{0, 32}, {1, 32}}), {0, 0});
  builder.add_linear(expanded, energy, {{0, 0, {weights.matrix(32, 1)}}});
  builder.output({"energy", energy, true, true, 2.0, 0.1});
  builder.output({"rows", rows});
  builder.constant_output("reference", {1.0, -2.0});
  builder.edge_count_output("edges");
  return builder.stage();
}

/// One that goes back by sender: tensors of rank two.
template <class T>
std::shared_ptr<executor::NativeStage> stage_of_tensors(bool with_tables) {
  Weights weights;
  native::StageBuilder<T> builder({1, 8}, 1, native::Cells({0.0, 0.5, 1.0, 1.5, 2.0, 3.0, kCutoff}));
  const native::Layout tensors({{0, kChannels}, {1, kChannels}, {2, kChannels}}), scalars({{0, kChannels}});
  const int x = builder.input("x", tensors, /*of_senders=*/true, native::Order::components);
  const int own = builder.input("own", native::Layout({{0, 3}}), /*of_senders=*/false);
  int functions = 0;
  if (with_tables) {
    functions = radial(builder, weights, true, std::vector<int>(3, kChannels));
  } else {
    native::RadialNetwork network{{{1.0, 2.0}, 0.7, {native::Envelope::Kind::none}, {}},
                                  {weights.matrix(3, 5), weights.matrix(6, 96)},
                                  1.0,
                                  native::RadialNetwork::Functions::hidden};
    network.columns = {32, 32, 32};
    network.damping = {native::Envelope::Kind::cosine, kCutoff};
    functions = builder.network(std::move(network));
  }
  using Operators = native::Operators<T>;
  const int sums = builder.scaling(x, functions, {0, 1, 2});
  const int product = builder.of_tensors(&Operators::anticommutator, builder.own_rows(x), sums);
  const int changed = builder.of_tensors(&Operators::plus_square, sums, product);
  const int norm = builder.of_tensors(&Operators::norm, changed, scalars);
  const int normed = builder.layer_norm(norm, std::vector<double>(kChannels, 0.9),
                                        std::vector<double>(kChannels, 0.1), 1e-3);
  const int energy =
      builder.linear(normed, native::Layout({{0, 1}}), {{0, 0, {weights.matrix(kChannels, 1)}}});
  builder.add_linear(own, energy, {{0, 0, {weights.matrix(3, 1), weights.matrix(3, 1)}}});
  builder.output({"energy", energy, true, true, 2.0, 0.1});
  builder.output({"rows", changed, false, false, 1, 0, native::Order::components});
  return builder.stage();
}

/// What is tested, and how many numbers its senders have per channel.
struct Model {
  bool of_tensors, with_tables;
  int64_t numbers() const { return of_tensors ? 9 : 1 + 3 + 7; }
  template <class T>
  std::shared_ptr<executor::NativeStage> stage() const {
    return of_tensors ? stage_of_tensors<T>(with_tables) : stage_of<T>(with_tables);
  }
};

/// `n_owned` atoms of which the first has more edges than go through an operator together, others none.
NativeGraph graph_of(int64_t n_owned, int64_t n_local, at::ScalarType dtype) {
  std::mt19937 random(5);
  std::normal_distribution<double> normal;
  std::uniform_real_distribution<double> length(0.7, kCutoff - 0.01);
  std::vector<int64_t> senders, receivers, numbers;
  std::vector<double> vectors;
  for (int64_t row = 0; row < n_local; ++row) numbers.push_back(random() % 2 == 0 ? 1 : 8);
  for (int64_t atom = 0; atom < n_owned; ++atom) {
    const int64_t n = atom == 0 ? 150 : atom % 4;
    for (int64_t k = 0; k < n; ++k) {
      receivers.push_back(atom);
      senders.push_back(static_cast<int64_t>(random()) % n_local);
      const double x = normal(random), y = normal(random), z = normal(random);
      const double scale = length(random) / std::sqrt(x * x + y * y + z * z);
      vectors.insert(vectors.end(), {x * scale, y * scale, z * scale});
    }
  }
  const auto n_edges = static_cast<int64_t>(senders.size());
  return {n_owned, at::tensor(numbers, at::kLong), at::tensor(senders, at::kLong),
          at::tensor(receivers, at::kLong), at::tensor(vectors, at::kDouble).reshape({n_edges, 3}).to(dtype)};
}

Tensors inputs_of(const NativeGraph& graph, const Model& model) {
  const auto options = graph.vectors.options();
  const int64_t width = kChannels * model.numbers();
  return {{"x", at::sin(at::arange(graph.numbers.numel() * width, options)).reshape({-1, width})},
          {"own", at::cos(at::arange(graph.n_owned * 3, options)).reshape({-1, 3})}};
}

struct Result {
  executor::StageOutput output;
  executor::Gradients gradients;
};

Result result_of(const executor::NativeStage& stage, const NativeGraph& graph, const Tensors& inputs,
                 bool keep, int n_threads) {
  Result result{stage.run(graph, inputs, keep, n_threads), {}};
  const Tensors& outputs = result.output.tensors;
  result.gradients = result.output.pullback(
      {{"energy", at::ones_like(outputs.at("energy"))}, {"rows", 0.1 * at::ones_like(outputs.at("rows"))}},
      n_threads);
  return result;
}

void require_same(const Result& a, const Result& b) {
  for (const auto& [name, tensor] : a.output.tensors)
    require(at::equal(tensor, b.output.tensors.at(name)), name + " depends on threads");
  for (const auto& [name, tensor] : a.gradients.inputs)
    require(at::equal(tensor, b.gradients.inputs.at(name)),
            "the gradient of " + name + " depends on threads");
  require(at::equal(a.gradients.vectors, b.gradients.vectors), "gradients of vectors depend on threads");
}

template <class T>
void any_number_of_threads_gives_the_same(const Model& model) {
  const auto stage = model.stage<T>();
  const NativeGraph graph = graph_of(600, 700, c10::CppTypeToScalarType<T>::value);
  const Tensors inputs = inputs_of(graph, model);
  const Result alone = result_of(*stage, graph, inputs, true, 1);
  require(at::isfinite(alone.gradients.vectors).all().template item<bool>(), "gradients are finite");
  for (const int n_threads : {2, 4})
    require_same(alone, result_of(*stage, graph, inputs, n_threads == 2, n_threads));
  std::vector<std::thread> threads;  // partitions side by side
  std::vector<Result> results(4);
  for (size_t k = 0; k < results.size(); ++k)
    threads.emplace_back([&, k] { results[k] = result_of(*stage, graph, inputs, k % 2 == 0, 2); });
  for (auto& thread : threads) thread.join();
  for (const Result& result : results) require_same(alone, result);
}

void gradients_are_slopes(const Model& model) {
  const auto stage = model.stage<double>();
  NativeGraph graph = graph_of(5, 9, at::kDouble);
  Tensors inputs = inputs_of(graph, model);
  const auto total = [&] {
    const Tensors outputs = stage->run(graph, inputs, false, 1).tensors;
    return (outputs.at("energy").sum() + 0.1 * outputs.at("rows").sum()).item<double>();
  };
  const executor::Gradients gradients = result_of(*stage, graph, inputs, true, 1).gradients;
  std::vector<std::pair<at::Tensor*, at::Tensor>> all{{&graph.vectors, gradients.vectors}};
  for (auto& [name, tensor] : inputs) all.emplace_back(&tensor, gradients.inputs.at(name));
  for (auto& [tensor, gradient] : all) {
    const at::Tensor before = *tensor,
                     along = at::sin(at::arange(before.numel(), before.options())).reshape(before.sizes());
    const double step = 1e-6;
    *tensor = before + step * along;
    const double above = total();
    *tensor = before - step * along;
    const double below = total();
    *tensor = before;
    const double slope = (above - below) / (2 * step), expected = (gradient * along).sum().item<double>();
    require(std::abs(slope - expected) <= 1e-5 * std::max(1.0, std::abs(expected)), "a gradient is no slope");
  }
}

void partitions_may_be_empty(const Model& model) {
  const auto stage = model.stage<float>();
  for (const int64_t n_owned : {0, 2}) {
    const at::Tensor none = at::empty({0}, at::kLong);
    const NativeGraph graph{n_owned, at::full({2}, 8, at::kLong), none, none, at::empty({0, 3}, at::kFloat)};
    const Result result = result_of(*stage, graph, inputs_of(graph, model), true, 2);
    // Only each atom's own row of tensors.
    require(model.of_tensors || result.gradients.inputs.at("x").abs().sum().item<float>() == 0,
            "nothing depends on senders");
  }
}

}  // namespace

int main() {
  at::set_num_threads(1);
  try {
    for (const kernels::Simd simd : kernels::simd_sets()) {
      kernels::set_simd(kernels::name_of(simd));
      for (const Model& model : {Model{false, true}, {false, false}, {true, true}, {true, false}}) {
        any_number_of_threads_gives_the_same<float>(model);
        any_number_of_threads_gives_the_same<double>(model);
        gradients_are_slopes(model);
        partitions_may_be_empty(model);
      }
    }
  } catch (const std::exception& error) {
    std::printf("FAILED: %s\n", error.what());
    return 1;
  }
  std::printf("passed\n");
  return 0;
}
