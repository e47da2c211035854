#include "executor/evaluation.h"

#include <chrono>
#include <memory>
#include <utility>

namespace distmlip::executor {
namespace {

std::vector<StageRows> rows_of(const Step& step, const SweepRequest& request,
                               std::vector<StageCounts> counts) {
  const std::map<std::string, std::vector<int64_t>> sizes{{"atoms", step.n_owned()},
                                                          {"edges", step.n_edges()},
                                                          {"bonds", step.n_bonds()},
                                                          {"angles", step.n_angles()}};
  std::vector<StageRows> rows;
  for (size_t k = 0; k < counts.size(); ++k) {
    StageRows of_stage{{}, std::move(counts[k].received)};
    for (const auto& kind : request.stages[k].computes) {
      auto& total = of_stage.computed[kind];
      for (const size_t p : counts[k].partitions) total += sizes.at(kind)[p];
    }
    rows.push_back(std::move(of_stage));
  }
  return rows;
}

}  // namespace

Evaluation evaluate(const Graphs& graphs, SweepRequest request, StageRunner& runner, bool with_virials) {
  const std::shared_ptr<Step> step = graphs.step();
  request.crossing = step->crossing(graphs.dtype());
  SweepResult swept = sweep(request, runner);
  Evaluation found;
  const auto start = std::chrono::steady_clock::now();
  found.forces = step->forces(swept.edge_gradients, with_virials);
  graphs.bring_home(found.forces);
  found.forces_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  for (const auto& [name, rows] : swept.results) found.results[name] = graphs.in_order(rows);
  found.system_results = std::move(swept.system_results);
  found.rows = rows_of(*step, request, std::move(swept.counts));
  found.costs = std::move(swept.costs);
  return found;
}

}  // namespace distmlip::executor
