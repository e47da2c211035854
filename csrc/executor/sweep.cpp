#include "executor/sweep.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <utility>

#include "exchange/host_tensors.h"
#include "executor/device.h"
#include "executor/partition_jobs.h"
#include "executor/remade.h"

namespace distmlip::executor {
namespace {

using exchange::PerPartition;

constexpr const char* kEnergy = "energy";

/// Without torch's threads on the host: see add_vector_gradients().
at::Tensor gradient_of_energies(const at::Tensor& energies) {
  if (!energies.device().is_cpu() || energies.scalar_type() != at::kDouble) return at::ones_like(energies);
  at::Tensor ones = at::empty(energies.sizes(), energies.options());
  std::fill_n(ones.mutable_data_ptr<double>(), ones.numel(), 1.0);
  return ones;
}

/// One sweep: the tensors between stages, the pullbacks on the way forward, the gradients on the way back.
class Sweep {
 public:
  Sweep(const SweepRequest& request, StageRunner& runner)
      : request_(request),
        runner_(runner),
        n_partitions_(request.crossing.n_partitions()),
        state_(n_partitions_),
        gradients_(n_partitions_),
        pullbacks_(request.stages.size(), std::vector<Pullback>(n_partitions_)),
        jobs_(request),
        remade_(request, runner, jobs_) {
    result_.edge_gradients.resize(n_partitions_);
    result_.counts.resize(request.stages.size());
    if (request.measured) {
      const std::vector<Cost> of_partitions(n_partitions_);
      result_.costs.resize(request.stages.size(), {of_partitions, of_partitions, {}, {}});
    }
  }

  SweepResult run() {
    const at::NoGradGuard gradients_are_pullbacks;
    const size_t n_stages = request_.stages.size();
    for (size_t k = 0; k < n_stages; ++k) {
      forward(k);
      runner_.check_interrupt();
    }
    for (size_t k = request_.backward ? n_stages : 0; k-- > 0;) {
      backward(k);
      runner_.check_interrupt();
    }
    return std::move(result_);
  }

 private:
  void for_each_partition(std::vector<Cost> MeasuredStage::* direction, size_t k,
                          const PartitionJobs::Job& job) {
    jobs_.run(runner_.is_native(k) && remade_.are_native(k), job,
              [&](size_t p) { return cost_of(direction, k, p); });
  }

  /// Null unless the sweep is measured.
  Cost* cost_of(std::vector<Cost> MeasuredStage::* direction, size_t k, size_t p) {
    return request_.measured ? &(result_.costs[k].*direction)[p] : nullptr;
  }
  Cost* cost_of(Cost MeasuredStage::* direction, size_t k) {
    return request_.measured ? &(result_.costs[k].*direction) : nullptr;
  }

  void forward(size_t k) {
    std::vector<Tensors> inputs = taken_inputs(k);
    measured(cost_of(&MeasuredStage::exchange, k), request_.crossing.atoms.sources,
             [&] { exchange_forward(k, inputs); });
    std::vector<Tensors> outputs(n_partitions_);
    for_each_partition(&MeasuredStage::forward, k,
                       [&](size_t p, int n_threads) { outputs[p] = run_stage(k, p, inputs[p], n_threads); });
    add_vector_gradients();
    for (size_t p = 0; p < n_partitions_; ++p)
      if (jobs_.has_atoms(p))
        measured(cost_of(&MeasuredStage::forward, k, p), {}, [&] { store(k, p, outputs[p]); });
  }

  bool is_last(size_t k) const { return k + 1 == request_.stages.size(); }

  /// What the stage reads, of every partition. Nobody else has what no later stage reads.
  std::vector<Tensors> taken_inputs(size_t k) {
    const StageSpec& stage = request_.stages[k];
    std::vector<Tensors> inputs(n_partitions_);
    for (size_t p = 0; p < n_partitions_; ++p) {
      if (!jobs_.has_atoms(p)) continue;
      if (!is_last(k) && request_.backward) remade_.remember(k, p, state_[p]);
      for (const auto& name : stage.reads) {
        inputs[p][name] = state_[p].at(name);
        if (contains(stage.writes, name) || !needed_after(k, name)) state_[p].erase(name);
      }
    }
    return inputs;
  }

  /// On one partition; the last stage goes back at once, so only one partition's is ever in memory. Lets go
  /// of the inputs.
  Tensors run_stage(size_t k, size_t p, Tensors& inputs, int n_threads) {
    const bool keep = request_.backward &&
                      (request_.recompute == Recompute::never || is_last(k) || runner_.keeps_nothing(k));
    StageOutput output = runner_.run(k, p, inputs, keep, n_threads);
    if (!request_.backward)
      output.pullback = nullptr;
    else if (!keep && (request_.recompute == Recompute::host || remade_.any(k)))
      output.pullback = from_what_waits(k, p, inputs);
    inputs.clear();
    if (request_.backward && is_last(k))
      pull_back(k, p, {{kEnergy, gradient_of_energies(output.tensors.at(kEnergy))}}, output.pullback,
                n_threads);
    else
      pullbacks_[k][p] = std::move(output.pullback);
    return std::move(output.tensors);
  }

  /// What the stage was given, or what that is made of, waits until its backward, which computes it again.
  Pullback from_what_waits(size_t k, size_t p, const Tensors& inputs) {
    const bool on_host = request_.recompute == Recompute::host;
    Tensors waiting;
    for (const auto& [name, tensor] : inputs)
      if (!remade_.has(k, name)) waiting[name] = on_host ? to_host(tensor) : tensor;
    return [this, k, p, waiting = std::move(waiting)](Tensors output_gradients, int n_threads) {
      Tensors given = remade_.take(k, p, n_threads);
      for (const auto& [name, tensor] : waiting) given[name] = to_device(tensor, jobs_.device_of(p));
      return runner_.pull_back(k, p, given, std::move(output_gradients), n_threads);
    };
  }

  void exchange_forward(size_t k, std::vector<Tensors>& inputs) {
    const auto& before = request_.stages[k].before;
    std::vector<PerPartition> all;
    for (const auto& exchange : before) {
      all.push_back(take(inputs, exchange->name()));
      result_.counts[k].received[exchange->name()] += exchange->received(request_.crossing);
    }
    all = request_.crossing.cross(before, std::move(all));
    for (size_t j = 0; j < all.size(); ++j)
      for (size_t p = 0; p < n_partitions_; ++p) inputs[p][before[j]->name()] = std::move(all[j][p]);
  }

  /// The tensor of every partition; undefined where there is none. Nobody else holds it then.
  static PerPartition take(std::vector<Tensors>& tensors, const std::string& name) {
    PerPartition all;
    for (auto& of_partition : tensors) {
      auto found = of_partition.extract(name);
      all.push_back(found ? std::move(found.mapped()) : at::Tensor());
    }
    return all;
  }

  void store(size_t k, size_t p, Tensors& outputs) {
    const StageSpec& stage = request_.stages[k];
    for (const auto& name : stage.results) {
      auto& all = result_.results[name];
      all.resize(n_partitions_);
      all[p] = outputs.at(name);
    }
    for (const auto& name : stage.system_results) {
      auto& total = result_.system_results[name];
      const at::Tensor share = outputs.at(name).to(at::kCPU, at::kDouble);
      total = total.defined() ? total + share : share;
    }
    for (const auto& name : stage.writes) state_[p][name] = outputs.at(name);
    std::erase_if(state_[p], [&](const auto& entry) { return !needed_after(k, entry.first); });
    result_.counts[k].partitions.push_back(p);
  }

  bool needed_after(size_t k, const std::string& name) const {
    for (size_t later = k + 1; later < request_.stages.size(); ++later) {
      if (contains(request_.stages[later].reads, name) || remade_.is_made_of(later, name)) return true;
      if (contains(request_.stages[later].writes, name)) return false;
    }
    return false;
  }

  void backward(size_t k) {
    const StageSpec& stage = request_.stages[k];
    if (!is_last(k)) {
      remade_.make_what_crosses(
          k, [&](size_t p) { return cost_of(&MeasuredStage::backward, k, p); },
          cost_of(&MeasuredStage::exchange_backward, k));
      for_each_partition(&MeasuredStage::backward, k, [&](size_t p, int n_threads) {
        Tensors output_gradients;
        for (const auto& name : stage.writes)
          if (auto found = gradients_[p].extract(name)) output_gradients.insert(std::move(found));
        const Pullback pullback = std::exchange(pullbacks_[k][p], nullptr);
        if (!output_gradients.empty())
          pull_back(k, p, std::move(output_gradients), pullback, n_threads);
        else
          remade_.forget(k, p);
      });
      add_vector_gradients();
    }
    measured(cost_of(&MeasuredStage::exchange_backward, k), request_.crossing.atoms.sources,
             [&] { exchange_backward(stage.before); });
    for (size_t p = 0; p < n_partitions_; ++p) {
      for (auto& [name, gradient] : input_gradients_[p]) {
        auto& total = gradients_[p][name];
        total = total.defined() ? exchange::sum(total, gradient) : gradient;
      }
      input_gradients_[p].clear();
    }
  }

  void pull_back(size_t k, size_t p, Tensors output_gradients, const Pullback& pullback, int n_threads) {
    Gradients gradients = pullback(std::move(output_gradients), n_threads);
    input_gradients_[p] = std::move(gradients.inputs);
    at::Tensor& total = result_.edge_gradients[p];
    const bool is_native = runner_.is_native(k) && gradients.vectors.defined();
    if (is_native && !total.defined()) {
      total = std::move(gradients.vectors);
      has_own_total_[p] = true;
    } else if (is_native && has_own_total_[p]) {
      exchange::add(gradients.vectors, total);
    } else {
      vector_gradients_[p] = std::move(gradients.vectors);
    }
  }

  /// Of a stage of the model's own, after it has gone back on all partitions. Not in the jobs, which run on
  /// threads that would each start a team for torch's own operations.
  void add_vector_gradients() {
    for (size_t p = 0; p < n_partitions_; ++p) {
      const at::Tensor gradients = std::exchange(vector_gradients_[p], {});
      auto& total = result_.edge_gradients[p];
      if (!gradients.defined()) continue;
      has_own_total_[p] = total.defined();
      total = total.defined() ? total + gradients : gradients;
    }
  }

  void exchange_backward(const exchange::Exchanges& before) {
    exchange::Exchanges adjoints;
    std::vector<PerPartition> all;
    for (const auto& exchange : before) {
      PerPartition gradients = take(input_gradients_, exchange->name());
      const auto is_zero = [](const at::Tensor& gradient) { return !gradient.defined(); };
      // What is zero here need not be zero for other ranks, and all of them have to take part.
      if (request_.crossing.ranks != nullptr || !std::all_of(gradients.begin(), gradients.end(), is_zero)) {
        adjoints.push_back(exchange->adjoint());
        all.push_back(std::move(gradients));
      }
    }
    all = request_.crossing.cross(adjoints, std::move(all));
    for (size_t j = 0; j < all.size(); ++j) {
      for (size_t p = 0; p < n_partitions_; ++p)
        if (jobs_.has_atoms(p)) input_gradients_[p][adjoints[j]->name()] = std::move(all[j][p]);
    }
  }

  const SweepRequest& request_;
  StageRunner& runner_;
  const size_t n_partitions_;
  std::vector<Tensors> state_;      // tensors that later stages read, by name
  std::vector<Tensors> gradients_;  // of state_, on the way back
  std::vector<Tensors> input_gradients_ = std::vector<Tensors>(n_partitions_);  // of the stage at hand
  PerPartition vector_gradients_ = PerPartition(n_partitions_);                 // of the stage at hand
  std::vector<std::vector<Pullback>> pullbacks_;                                // [stage][partition]
  std::vector<char> has_own_total_ = std::vector<char>(n_partitions_, false);   // nobody else holds it
  const PartitionJobs jobs_;
  RemadeInputs remade_;
  SweepResult result_;
};

}  // namespace

SweepResult sweep(const SweepRequest& request, StageRunner& runner) {
  SweepResult result;
  Cost whole;  // so that all that is measured is also seen to be freed
  measured(request.measured ? &whole : nullptr, {}, [&] { result = Sweep(request, runner).run(); });
  return result;
}

}  // namespace distmlip::executor
