#include "executor/remade.h"

#include <algorithm>

#include "core/error.h"
#include "executor/device.h"

namespace distmlip::executor {
namespace {

bool crosses(const StageSpec& stage, const std::string& name) {
  return std::any_of(stage.before.begin(), stage.before.end(),
                     [&](const auto& exchange) { return exchange->name() == name; });
}

}  // namespace

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

RemadeInputs::RemadeInputs(const SweepRequest& request, StageRunner& runner, const PartitionJobs& jobs)
    : request_(request), runner_(runner), jobs_(jobs), of_(request.stages.size()) {
  const size_t n_partitions = request.crossing.n_partitions();
  for (size_t k = 0; k < of_.size(); ++k) {
    const StageSpec& stage = request.stages[k];
    OfStage& of = of_[k];
    if (stage.is_cheap && !stage.before.empty())
      invalid("something crosses partitions before '", stage.name, "', which is called cheap");
    for (const std::string& name : stage.reads) {
      const size_t by = writer_of(name, k);
      std::vector<std::string> sources = of.sources;
      if (request.recompute == Recompute::never || !request.stages[by].is_cheap ||
          !add_sources(by, k, sources))
        continue;
      of.inputs.push_back({name, by, crosses(stage, name)});
      of.sources = std::move(sources);
    }
    of.kept.resize(n_partitions);
    of.crossed.resize(n_partitions);
  }
}

bool RemadeInputs::has(size_t stage, const std::string& input) const {
  const auto& inputs = of_[stage].inputs;
  return std::any_of(inputs.begin(), inputs.end(), [&](const Input& of) { return of.name == input; });
}

bool RemadeInputs::is_made_of(size_t stage, const std::string& name) const {
  return contains(of_[stage].sources, name);
}

bool RemadeInputs::are_native(size_t stage) const {
  const auto& inputs = of_[stage].inputs;
  return std::all_of(inputs.begin(), inputs.end(), [&](const Input& of) { return runner_.is_native(of.by); });
}

void RemadeInputs::remember(size_t stage, size_t p, const Tensors& state) {
  const bool on_host = request_.recompute == Recompute::host;
  for (const std::string& name : of_[stage].sources)
    of_[stage].kept[p][name] = on_host ? to_host(state.at(name)) : state.at(name);
}

void RemadeInputs::make_what_crosses(size_t stage, const PartitionJobs::CostOf& cost_of,
                                     Cost* exchange_cost) {
  OfStage& of = of_[stage];
  if (!std::any_of(of.inputs.begin(), of.inputs.end(), [](const Input& input) { return input.crosses; }))
    return;
  jobs_.run(
      are_native(stage),
      [&](size_t p, int n_threads) { of.crossed[p] = made_for(stage, p, /*crosses=*/true, n_threads); },
      cost_of);
  exchange::Exchanges exchanges;
  std::vector<exchange::PerPartition> all;
  for (const auto& exchange : request_.stages[stage].before) {
    if (!has(stage, exchange->name())) continue;
    exchanges.push_back(exchange);
    exchange::PerPartition& tensors = all.emplace_back(of.crossed.size());
    for (size_t p = 0; p < tensors.size(); ++p)
      if (jobs_.has_atoms(p)) tensors[p] = std::move(of.crossed[p].at(exchange->name()));
    for (Tensors& made : of.crossed) made.erase(exchange->name());
  }
  measured(exchange_cost, request_.crossing.atoms.sources,
           [&] { all = request_.crossing.cross(exchanges, std::move(all)); });
  for (size_t k = 0; k < exchanges.size(); ++k)
    for (size_t p = 0; p < all[k].size(); ++p)
      if (jobs_.has_atoms(p)) of.crossed[p][exchanges[k]->name()] = std::move(all[k][p]);
}

Tensors RemadeInputs::take(size_t stage, size_t p, int n_threads) {
  Tensors made = made_for(stage, p, /*crosses=*/false, n_threads);
  made.merge(of_[stage].crossed[p]);
  forget(stage, p);
  return made;
}

void RemadeInputs::forget(size_t stage, size_t p) {
  of_[stage].kept[p].clear();
  of_[stage].crossed[p].clear();
}

/// The last stage before `reader` that writes this.
size_t RemadeInputs::writer_of(const std::string& name, size_t reader) const {
  for (size_t k = reader; k-- > 0;)
    if (contains(request_.stages[k].writes, name)) return k;
  invalid("stage '", request_.stages[reader].name, "' reads '", name, "', which no stage before it writes");
}

/// Adds what a cheap stage takes, of others or not. False: it has been replaced when `reader` runs.
bool RemadeInputs::add_sources(size_t cheap, size_t reader, std::vector<std::string>& sources) const {
  const auto& reads = request_.stages[cheap].reads;
  return std::all_of(reads.begin(), reads.end(), [&](const std::string& name) {
    const size_t by = writer_of(name, cheap);
    if (request_.stages[by].is_cheap) return add_sources(by, reader, sources);
    if (!contains(sources, name)) sources.push_back(name);
    return writer_of(name, reader) == by;
  });
}

/// Those inputs that cross partitions, before they do, or the others.
Tensors RemadeInputs::made_for(size_t stage, size_t p, bool crosses, int n_threads) const {
  Tensors made;
  for (const Input& input : of_[stage].inputs) {
    if (input.crosses != crosses || made.contains(input.name)) continue;
    Tensors written = made_by(input.by, stage, p, n_threads);
    for (const Input& other : of_[stage].inputs)
      if (other.by == input.by && other.crosses == crosses)
        made[other.name] = std::move(written.at(other.name));
  }
  return made;
}

/// What a cheap stage writes, once more, for a stage that reads it.
Tensors RemadeInputs::made_by(size_t cheap, size_t stage, size_t p, int n_threads) const {
  Tensors inputs;
  for (const std::string& name : request_.stages[cheap].reads) {
    const size_t by = writer_of(name, cheap);
    inputs[name] = request_.stages[by].is_cheap ? made_by(by, stage, p, n_threads).at(name)
                                                : to_device(of_[stage].kept[p].at(name), jobs_.device_of(p));
  }
  return runner_.run(cheap, p, inputs, /*keep=*/false, n_threads).tensors;
}

}  // namespace distmlip::executor
