// One exchange of a boundary as the two halves between which a message travels to the other ranks.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "executor/boundary.h"

namespace distmlip::executor {

class RankCrossing {
 public:
  /// What is sent, for a forward exchange or its adjoint. The tensors of the crossing are all defined.
  static std::unique_ptr<RankCrossing> make(const Boundary& boundary, Boundary::Crossing& crossing,
                                            bool adjoint);
  virtual ~RankCrossing() = default;

  /// The result, after send_together().
  virtual exchange::PerPartition finish() = 0;

  at::Tensor sent, received;                         // (n_rows, ...) by rank
  std::vector<int64_t> send_counts, receive_counts;  // rows, of each rank
};

/// One message from every rank to every other one, with the rows of all crossings; fills `received`.
void send_together(exchange::Ranks& ranks, const std::vector<std::unique_ptr<RankCrossing>>& crossings);

}  // namespace distmlip::executor
