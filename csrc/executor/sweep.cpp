#include "executor/sweep.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>
#include <c10/core/StreamGuard.h>

#include <algorithm>
#include <set>
#include <utility>

#include "core/thread_pool.h"
#include "executor/device.h"
#include "executor/worker.h"

namespace distmlip::executor {
namespace {

using exchange::PerPartition;

constexpr const char* kEnergy = "energy";

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

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
        pullbacks_(request.stages.size(), std::vector<Pullback>(n_partitions_)) {
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
  using Job = std::function<void(size_t partition, int n_threads)>;

  /// Runs `job` for every partition that owns atoms, on its device's worker, one after another on each; those
  /// of native stages side by side, if there are enough of them.
  void for_each_partition(std::vector<Cost> MeasuredStage::* direction, size_t k, const Job& job) {
    std::map<size_t, std::vector<size_t>> partitions_of;
    for (size_t p = 0; p < n_partitions_; ++p)
      if (has_atoms(p)) partitions_of[request_.slots[p]].push_back(p);
    std::vector<size_t> slots;
    std::vector<std::function<void()>> jobs;
    for (const auto& [slot, partitions] : partitions_of) {
      slots.push_back(slot);
      jobs.push_back([this, direction, k, &job, &partitions] {
        // What a model asks for without naming a device is made where its partition is.
        const c10::StreamGuard current(default_stream(device_of(partitions.front())));
        const int n_threads = at::get_num_threads();
        if (runner_.is_native(k) && !request_.measured && std::ssize(partitions) >= n_threads) {
          parallel_for(std::ssize(partitions), n_threads,
                       [&](int64_t index, int) { job(partitions[static_cast<size_t>(index)], 1); });
          return;
        }
        for (const size_t p : partitions)
          measured(cost_of(direction, k, p), {request_.crossing.atoms.sources[p]},
                   [&] { job(p, n_threads); });
      });
    }
    run_on_workers(slots, jobs);
  }

  /// Null unless the sweep is measured.
  Cost* cost_of(std::vector<Cost> MeasuredStage::* direction, size_t k, size_t p) {
    return request_.measured ? &(result_.costs[k].*direction)[p] : nullptr;
  }
  Cost* cost_of(Cost MeasuredStage::* direction, size_t k) {
    return request_.measured ? &(result_.costs[k].*direction) : nullptr;
  }

  void forward(size_t k) {
    const StageSpec& stage = request_.stages[k];
    std::vector<Tensors> inputs(n_partitions_);
    for (size_t p = 0; p < n_partitions_; ++p) {
      for (const auto& name : stage.reads)
        if (has_atoms(p)) inputs[p][name] = state_[p].at(name);
    }
    measured(cost_of(&MeasuredStage::exchange, k), request_.crossing.atoms.sources,
             [&] { exchange_forward(k, inputs); });
    std::vector<Tensors> outputs(n_partitions_);
    const bool last = k + 1 == request_.stages.size();
    for_each_partition(&MeasuredStage::forward, k, [&](size_t p, int n_threads) {
      // The last stage goes back at once, so only one partition's is ever in memory.
      const bool keep = request_.backward && (request_.recompute == Recompute::never || last);
      StageOutput output = runner_.run(k, p, inputs[p], keep, n_threads);
      if (!request_.backward)
        output.pullback = nullptr;
      else if (request_.recompute == Recompute::host && !keep)
        output.pullback = spilled(k, p, inputs[p]);
      inputs[p].clear();
      if (request_.backward && last)
        pull_back(p, {{kEnergy, gradient_of_energies(output.tensors.at(kEnergy))}}, output.pullback,
                  n_threads);
      else
        pullbacks_[k][p] = std::move(output.pullback);
      outputs[p] = std::move(output.tensors);
    });
    add_vector_gradients();
    for (size_t p = 0; p < n_partitions_; ++p)
      if (has_atoms(p))
        measured(cost_of(&MeasuredStage::forward, k, p), {}, [&] { store(k, p, outputs[p]); });
  }

  /// What the stage was given waits in host memory until its backward, which computes the stage again.
  Pullback spilled(size_t k, size_t p, const Tensors& inputs) {
    Tensors waiting;
    for (const auto& [name, tensor] : inputs) waiting[name] = to_host(tensor);
    return [this, k, p, waiting = std::move(waiting)](Tensors output_gradients, int n_threads) {
      Tensors given;
      for (const auto& [name, tensor] : waiting) given[name] = to_device(tensor, device_of(p));
      return runner_.run(k, p, given, /*keep=*/true, n_threads)
          .pullback(std::move(output_gradients), n_threads);
    };
  }

  void exchange_forward(size_t k, std::vector<Tensors>& inputs) {
    const auto& before = request_.stages[k].before;
    std::vector<PerPartition> all;
    for (const auto& exchange : before) {
      all.push_back(collect(inputs, exchange->name()));
      result_.counts[k].received[exchange->name()] += exchange->received(request_.crossing);
    }
    all = request_.crossing.cross(before, std::move(all));
    for (size_t j = 0; j < all.size(); ++j)
      for (size_t p = 0; p < n_partitions_; ++p) inputs[p][before[j]->name()] = std::move(all[j][p]);
  }

  /// The tensor of every partition; undefined where there is none.
  static PerPartition collect(const std::vector<Tensors>& tensors, const std::string& name) {
    PerPartition all;
    for (const auto& of_partition : tensors) {
      const auto found = of_partition.find(name);
      all.push_back(found != of_partition.end() ? found->second : at::Tensor());
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
      if (contains(request_.stages[later].reads, name)) return true;
      if (contains(request_.stages[later].writes, name)) return false;
    }
    return false;
  }

  void backward(size_t k) {
    const StageSpec& stage = request_.stages[k];
    if (k + 1 < request_.stages.size()) {
      for_each_partition(&MeasuredStage::backward, k, [&](size_t p, int n_threads) {
        Tensors output_gradients;
        for (const auto& name : stage.writes)
          if (auto found = gradients_[p].extract(name)) output_gradients.insert(std::move(found));
        const Pullback pullback = std::exchange(pullbacks_[k][p], nullptr);
        if (!output_gradients.empty()) pull_back(p, std::move(output_gradients), pullback, n_threads);
      });
      add_vector_gradients();
    }
    measured(cost_of(&MeasuredStage::exchange_backward, k), request_.crossing.atoms.sources,
             [&] { exchange_backward(stage.before); });
    for (size_t p = 0; p < n_partitions_; ++p) {
      for (auto& [name, gradient] : input_gradients_[p]) {
        auto& total = gradients_[p][name];
        total = total.defined() ? total + gradient : gradient;
      }
      input_gradients_[p].clear();
    }
  }

  void pull_back(size_t p, Tensors output_gradients, const Pullback& pullback, int n_threads) {
    Gradients gradients = pullback(std::move(output_gradients), n_threads);
    input_gradients_[p] = std::move(gradients.inputs);
    vector_gradients_[p] = std::move(gradients.vectors);
  }

  /// Of a stage, after it has gone back on all partitions. Not in the jobs: those of native stages run on
  /// threads that would each start a team for torch's own operations.
  void add_vector_gradients() {
    for (size_t p = 0; p < n_partitions_; ++p) {
      const at::Tensor gradients = std::exchange(vector_gradients_[p], {});
      auto& total = result_.edge_gradients[p];
      if (gradients.defined()) total = total.defined() ? total + gradients : gradients;
    }
  }

  void exchange_backward(const exchange::Exchanges& before) {
    exchange::Exchanges adjoints;
    std::vector<PerPartition> all;
    for (const auto& exchange : before) {
      PerPartition gradients = collect(input_gradients_, exchange->name());
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
        if (has_atoms(p)) input_gradients_[p][adjoints[j]->name()] = std::move(all[j][p]);
    }
  }

  bool has_atoms(size_t p) const { return request_.crossing.n_owned[p] > 0; }
  at::Device device_of(size_t p) const { return request_.crossing.atoms.sources[p].device(); }

  const SweepRequest& request_;
  StageRunner& runner_;
  const size_t n_partitions_;
  std::vector<Tensors> state_;      // tensors that later stages read, by name
  std::vector<Tensors> gradients_;  // of state_, on the way back
  std::vector<Tensors> input_gradients_ = std::vector<Tensors>(n_partitions_);  // of the stage at hand
  PerPartition vector_gradients_ = PerPartition(n_partitions_);                 // of the stage at hand
  std::vector<std::vector<Pullback>> pullbacks_;                                // [stage][partition]
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
