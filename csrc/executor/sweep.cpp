#include "executor/sweep.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <set>
#include <utility>

#include "executor/worker.h"

namespace distmlip::executor {
namespace {

using exchange::PerPartition;

constexpr const char* kEnergy = "energy";

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

/// One sweep: the tensors between stages, the pullbacks on the way forward, the gradients on the way back.
class Sweep {
 public:
  Sweep(const SweepRequest& request, StageRunner& runner)
      : request_(request),
        runner_(runner),
        n_partitions_(request.n_owned.size()),
        state_(n_partitions_),
        gradients_(n_partitions_),
        pullbacks_(request.stages.size(), std::vector<Pullback>(n_partitions_)) {
    result_.edge_gradients.resize(n_partitions_);
    result_.counts.resize(request.stages.size());
  }

  SweepResult run() {
    const at::NoGradGuard exchanges_need_no_graph;
    const size_t n_stages = request_.stages.size();
    for (size_t k = 0; k < n_stages; ++k) {
      forward(k);
      runner_.check_interrupt();
    }
    for (size_t k = n_stages; k-- > 0;) {
      backward(k);
      runner_.check_interrupt();
    }
    return std::move(result_);
  }

 private:
  /// Runs `job` for every partition that owns atoms, on its device's worker, one after another on each.
  void for_each_partition(const std::function<void(size_t)>& job) {
    std::map<size_t, std::vector<size_t>> partitions_of;
    for (size_t p = 0; p < n_partitions_; ++p) {
      if (request_.n_owned[p] > 0) {
        partitions_of[request_.slots[p]].push_back(p);
      }
    }
    std::vector<size_t> slots;
    std::vector<std::function<void()>> jobs;
    for (const auto& [slot, partitions] : partitions_of) {
      slots.push_back(slot);
      jobs.push_back([&job, &partitions] { std::for_each(partitions.begin(), partitions.end(), job); });
    }
    run_on_workers(slots, jobs);
  }

  void forward(size_t k) {
    const StageSpec& stage = request_.stages[k];
    std::vector<Tensors> inputs(n_partitions_);
    for (size_t p = 0; p < n_partitions_; ++p) {
      for (const auto& name : stage.reads) {
        if (request_.n_owned[p] > 0) {
          inputs[p][name] = state_[p].at(name);
        }
      }
    }
    for (const auto& exchange : stage.before) {
      exchange_forward(k, exchange, inputs);
    }
    std::vector<Tensors> outputs(n_partitions_);
    const bool last = k + 1 == request_.stages.size();
    for_each_partition([&](size_t p) {
      // The last stage goes back at once, so only one partition's is ever in memory.
      StageOutput output = runner_.run(k, p, inputs[p], request_.keep || last);
      inputs[p].clear();
      if (last) {
        pull_back(p, {{kEnergy, at::ones_like(output.tensors.at(kEnergy))}}, output.pullback);
      } else {
        pullbacks_[k][p] = std::move(output.pullback);
      }
      outputs[p] = std::move(output.tensors);
    });
    for (size_t p = 0; p < n_partitions_; ++p) {
      if (request_.n_owned[p] > 0) {
        store(k, p, outputs[p]);
      }
    }
  }

  void exchange_forward(size_t k, const ExchangeSpec& spec, std::vector<Tensors>& inputs) {
    const auto& plan = plan_of(spec);
    const PerPartition rows = spec.kind == ExchangeSpec::Kind::halo
                                  ? exchange::halo(plan, collect(inputs, spec))
                                  : exchange::add(plan, collect(inputs, spec));
    for (size_t p = 0; p < n_partitions_; ++p) {
      result_.counts[k].received[spec.name] += plan.received(static_cast<int64_t>(p));
      inputs[p][spec.name] = rows[p];
    }
  }

  /// The tensor of every partition; zero rows where a partition has none.
  PerPartition collect(const std::vector<Tensors>& tensors, const ExchangeSpec& spec) const {
    PerPartition all;
    for (size_t p = 0; p < n_partitions_; ++p) {
      const auto found = tensors[p].find(spec.name);
      all.push_back(found != tensors[p].end() ? found->second : zeros(spec, p, 0));
    }
    return all;
  }

  at::Tensor zeros(const ExchangeSpec& spec, size_t p, int64_t n_rows) const {
    std::vector<int64_t> shape{n_rows};
    shape.insert(shape.end(), spec.width.begin(), spec.width.end());
    return at::zeros(shape, at::TensorOptions(request_.dtype).device(request_.atoms.rows[p].device()));
  }

  const exchange::RowPlan& plan_of(const ExchangeSpec& spec) const {
    return spec.kind == ExchangeSpec::Kind::halo ? request_.atoms : request_.bonds;
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
    for (const auto& name : stage.writes) {
      state_[p][name] = outputs.at(name);
    }
    std::erase_if(state_[p], [&](const auto& entry) { return !needed_after(k, entry.first); });
    result_.counts[k].partitions.push_back(p);
  }

  bool needed_after(size_t k, const std::string& name) const {
    for (size_t later = k + 1; later < request_.stages.size(); ++later) {
      if (contains(request_.stages[later].reads, name)) {
        return true;
      }
      if (contains(request_.stages[later].writes, name)) {
        return false;
      }
    }
    return false;
  }

  void backward(size_t k) {
    const StageSpec& stage = request_.stages[k];
    if (k + 1 < request_.stages.size()) {
      for_each_partition([&](size_t p) {
        Tensors output_gradients;
        for (const auto& name : stage.writes) {
          if (auto found = gradients_[p].extract(name)) {
            output_gradients.insert(std::move(found));
          }
        }
        const Pullback pullback = std::exchange(pullbacks_[k][p], nullptr);
        if (!output_gradients.empty()) {
          pull_back(p, std::move(output_gradients), pullback);
        }
      });
    }
    for (auto exchange = stage.before.rbegin(); exchange != stage.before.rend(); ++exchange) {
      exchange_backward(*exchange);
    }
    for (size_t p = 0; p < n_partitions_; ++p) {
      for (auto& [name, gradient] : input_gradients_[p]) {
        auto& total = gradients_[p][name];
        total = total.defined() ? total + gradient : gradient;
      }
      input_gradients_[p].clear();
    }
  }

  void pull_back(size_t p, Tensors output_gradients, const Pullback& pullback) {
    Gradients gradients = pullback(std::move(output_gradients));
    input_gradients_[p] = std::move(gradients.inputs);
    if (gradients.vectors.defined()) {
      auto& total = result_.edge_gradients[p];
      total = total.defined() ? total + gradients.vectors : gradients.vectors;
    }
  }

  void exchange_backward(const ExchangeSpec& spec) {
    const auto& plan = plan_of(spec);
    PerPartition rows;
    bool any = false;
    for (size_t p = 0; p < n_partitions_; ++p) {
      const auto found = input_gradients_[p].find(spec.name);
      any = any || found != input_gradients_[p].end();
      rows.push_back(found != input_gradients_[p].end() ? found->second
                                                        : zeros(spec, p, input_rows(spec, p)));
    }
    if (!any) {
      return;
    }
    rows = spec.kind == ExchangeSpec::Kind::halo ? exchange::fold(plan, rows) : exchange::add(plan, rows);
    for (size_t p = 0; p < n_partitions_; ++p) {
      if (request_.n_owned[p] > 0) {
        input_gradients_[p][spec.name] = rows[p];
      }
    }
  }

  /// Rows of an exchanged tensor as the stage got it.
  int64_t input_rows(const ExchangeSpec& spec, size_t p) const {
    return spec.kind == ExchangeSpec::Kind::halo
               ? request_.n_owned[p] + request_.atoms.received(static_cast<int64_t>(p))
               : request_.n_bonds[p];
  }

  const SweepRequest& request_;
  StageRunner& runner_;
  const size_t n_partitions_;
  std::vector<Tensors> state_;      // tensors that later stages read, by name
  std::vector<Tensors> gradients_;  // of state_, on the way back
  std::vector<Tensors> input_gradients_ = std::vector<Tensors>(n_partitions_);  // of the stage at hand
  std::vector<std::vector<Pullback>> pullbacks_;                                // [stage][partition]
  SweepResult result_;
};

}  // namespace

SweepResult sweep(const SweepRequest& request, StageRunner& runner) { return Sweep(request, runner).run(); }

}  // namespace distmlip::executor
