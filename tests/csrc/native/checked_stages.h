// What programs share that run native stages under sanitizers.
#pragma once

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <cmath>
#include <cstdio>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "executor/native_stage.h"
#include "kernels/simd.h"
#include "native/matrix.h"

namespace distmlip {

/// Random numbers that live as long as the building of a stage.
class Weights {
 public:
  native::Matrix matrix(int rows, int columns) {
    all_.push_back(std::make_unique<std::vector<double>>(vector(rows * columns)));
    return {all_.back()->data(), rows, columns};
  }
  std::vector<double> vector(int n) {
    std::vector<double> values(static_cast<size_t>(n));
    for (double& value : values) value = uniform_(random_);
    return values;
  }

 private:
  std::mt19937 random_{3};
  std::uniform_real_distribution<double> uniform_{-0.4, 0.4};
  std::vector<std::unique_ptr<std::vector<double>>> all_;
};

/// Outputs and gradients by name.
inline executor::Tensors all_of(const executor::NativeStage& stage, const executor::NativeGraph& graph,
                                const executor::Tensors& given, bool keep, int n_threads) {
  executor::StageOutput output = stage.run(graph, given, keep, n_threads);
  executor::Tensors found = output.tensors, seeds;
  for (const auto& [name, tensor] : output.tensors) seeds[name] = at::ones_like(tensor);
  const executor::Gradients gradients = output.pullback(seeds, n_threads);
  for (const auto& [name, tensor] : gradients.inputs) found["gradient of " + name] = tensor;
  found["vectors"] = gradients.vectors;
  return found;
}

/// Results are the same to the last bit on several threads, and where nothing is kept for the way back.
inline void check(const executor::NativeStage& stage, const executor::NativeGraph& graph,
                  const executor::Tensors& given) {
  const executor::Tensors expected = all_of(stage, graph, given, true, 1);
  for (const bool keep : {true, false}) {
    const executor::Tensors found = all_of(stage, graph, given, keep, 3);
    for (const auto& [name, tensor] : expected)
      if (!std::isfinite(tensor.sum().item<double>()) || !at::equal(tensor, found.at(name)))
        throw std::logic_error(name + " depends on threads, or is no number");
  }
}

/// What main() returns: with the kernels of every instruction set, in float32 and in float64.
template <class F>
int checked_with_every_instruction_set(F check_in) {
  at::set_num_threads(1);
  try {
    for (const kernels::Simd simd : kernels::simd_sets()) {
      kernels::set_simd(kernels::name_of(simd));
      check_in(at::kFloat);
      check_in(at::kDouble);
    }
  } catch (const std::exception& error) {
    std::puts(error.what());
    return 1;
  }
  std::puts("passed");
  return 0;
}

}  // namespace distmlip
