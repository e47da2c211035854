// The staged forward and backward sweep over all partitions. Knows nothing of the model that it runs.
//
// At every stage boundary the autograd graph is cut: a stage's inputs are fresh leaves. Backward runs stage
// by stage in reverse: gradients of a stage's outputs in, gradients of its inputs and of the edge vectors
// out, adjoint exchange, next. So nothing is ever exchanged inside the autograd engine, and a stage's memory
// is freed as soon as its backward is done.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "exchange/crossing.h"
#include "executor/measure.h"

namespace distmlip::executor {

using Tensors = std::map<std::string, at::Tensor>;

/// What the sweep knows of a stage (distmlip/models/stages.py, Stage).
struct StageSpec {
  std::string name;
  exchange::Exchanges before;
  std::vector<std::string> reads, writes, results, system_results, computes;
  bool is_cheap = false;
};

struct Gradients {
  Tensors inputs;
  at::Tensor vectors;  ///< undefined where nothing depends on the edge vectors
};
/// `n_threads`: that native stages may use.
using Pullback = std::function<Gradients(Tensors output_gradients, int n_threads)>;

struct StageOutput {
  Tensors tensors;
  Pullback pullback;
};

/// Runs a stage of the model on one partition; called from the worker of the partition's device.
class StageRunner {
 public:
  virtual ~StageRunner() = default;
  /// `n_threads`: that a native stage may use.
  virtual StageOutput run(size_t stage, size_t partition, const Tensors& inputs, bool keep,
                          int n_threads) = 0;
  /// What the pullback of run() with these inputs gives, which has not been called or did not keep it.
  virtual Gradients pull_back(size_t stage, size_t partition, const Tensors& inputs, Tensors output_gradients,
                              int n_threads) {
    return run(stage, partition, inputs, true, n_threads).pullback(std::move(output_gradients), n_threads);
  }
  /// Whether a pullback takes no memory worth mentioning.
  virtual bool keeps_nothing(size_t /*stage*/) const { return false; }
  /// Whether the stage needs neither Python nor torch's own threads: partitions may then run it, and its
  /// pullback, side by side, on any thread.
  virtual bool is_native(size_t stage) const = 0;
  /// Called between stages on the thread that called sweep(); may throw to end the sweep.
  virtual void check_interrupt() = 0;
};

/// What of a stage's inside is computed again in its backward, so that it needs no memory until then.
enum class Recompute {
  never,
  stages,  ///< all of it, from what the stage was given, but for what cheap stages gave: that is made anew
  host,    ///< the same, and what the stage was given waits in host memory
};

struct SweepRequest {
  std::span<const StageSpec> stages;  ///< must outlive the sweep
  std::vector<size_t> slots;          ///< worker of each partition
  exchange::Crossing crossing;        ///< stages never run on partitions without atoms
  Recompute recompute = Recompute::never;
  bool backward = true;   ///< false: no gradients of the energy are wanted
  bool measured = false;  ///< fills SweepResult::costs; waits for devices after every piece of work
};

struct StageCounts {
  std::vector<size_t> partitions;           ///< on which the stage ran, once each
  std::map<std::string, int64_t> received;  ///< rows that an exchange delivered before it, by tensor
};

/// What a stage took.
struct MeasuredStage {
  std::vector<Cost> forward, backward;  ///< of each partition
  Cost exchange, exchange_backward;     ///< before the stage, of all partitions
};

struct SweepResult {
  std::map<std::string, exchange::PerPartition> results;  ///< undefined for partitions without atoms
  Tensors system_results;
  exchange::PerPartition edge_gradients;  ///< dE/dvector; undefined where zero
  std::vector<StageCounts> counts;
  std::vector<MeasuredStage> costs;  ///< of each stage; empty unless they were asked for
};

SweepResult sweep(const SweepRequest& request, StageRunner& runner);

}  // namespace distmlip::executor
