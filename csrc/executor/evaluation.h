// One model on the graph of a system: the sweep, forces and virials, and everything in the order of atoms.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "executor/graphs.h"
#include "executor/sweep.h"

namespace distmlip::executor {

/// Of one stage, over the partitions of this process.
struct StageRows {
  std::map<std::string, int64_t> computed;  ///< by kind of row, as the stage says (StageSpec::computes)
  std::map<std::string, int64_t> received;  ///< that an exchange delivered before it, by tensor
};

struct Evaluation {
  Tensors results;         ///< (n_owned, ...) float64 on the host, in the order of Graphs::owned()
  Tensors system_results;  ///< float64 on the host: sums over the partitions of this process
  Forces forces;
  std::vector<StageRows> rows;       ///< of each stage
  std::vector<MeasuredStage> costs;  ///< of each stage; empty unless measured
  double forces_seconds = 0;         ///< from gradients of the edges to forces
};

/// At the positions that graphs.at() was given last. `request`: but for its crossing.
Evaluation evaluate(const Graphs& graphs, SweepRequest request, StageRunner& runner, bool with_virials);

}  // namespace distmlip::executor
