// With recompute: what stages read of cheap ones, which is made anew for the way back instead of being kept.
#pragma once

#include <string>
#include <vector>

#include "executor/partition_jobs.h"

namespace distmlip::executor {

bool contains(const std::vector<std::string>& names, const std::string& name);

class RemadeInputs {
 public:
  /// What it is given must outlive it. Throws std::invalid_argument for a stage that reads what none before
  /// it writes, and if something crosses partitions before a cheap one.
  RemadeInputs(const SweepRequest& request, StageRunner& runner, const PartitionJobs& jobs);

  bool any(size_t stage) const { return !of_[stage].inputs.empty(); }
  bool has(size_t stage, const std::string& input) const;
  /// Whether what is made anew for a stage takes this tensor.
  bool is_made_of(size_t stage, const std::string& name) const;
  bool are_native(size_t stage) const;

  /// Keeps what it takes, from the tensors before the stage.
  void remember(size_t stage, size_t p, const Tensors& state);
  /// Makes what partitions have to exchange; on the way back, before take().
  void make_what_crosses(size_t stage, const PartitionJobs::CostOf& cost_of, Cost* exchange_cost);
  /// All that is made anew for the stage; forgets what it took.
  Tensors take(size_t stage, size_t p, int n_threads);
  void forget(size_t stage, size_t p);

 private:
  struct Input {
    std::string name;
    size_t by;     ///< the cheap stage that writes it
    bool crosses;  ///< partitions, before it is read
  };
  struct OfStage {
    std::vector<Input> inputs;
    std::vector<std::string> sources;  ///< tensors that they are made of
    std::vector<Tensors> kept;         ///< of each partition: the sources
    std::vector<Tensors> crossed;      ///< of each partition: inputs that have been exchanged
  };

  size_t writer_of(const std::string& name, size_t reader) const;
  bool add_sources(size_t cheap, size_t reader, std::vector<std::string>& sources) const;
  Tensors made_for(size_t stage, size_t p, bool crosses, int n_threads) const;
  Tensors made_by(size_t cheap, size_t stage, size_t p, int n_threads) const;

  const SweepRequest& request_;
  StageRunner& runner_;
  const PartitionJobs& jobs_;
  std::vector<OfStage> of_;
};

}  // namespace distmlip::executor
