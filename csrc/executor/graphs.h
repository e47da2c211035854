// From positions to the tensors that stages run on: the graph of a system over partitions, built anew when it
// is no longer valid.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <optional>
#include <vector>

#include "executor/shared_system.h"
#include "executor/step.h"

namespace distmlip::executor {

/// How a system is cut, and where its partitions are.
struct GraphsRequest {
  partition::Request cut;           ///< but for positions, atoms and cell
  std::vector<double> weights;      ///< (n_atoms); empty: estimated
  std::vector<at::Device> devices;  ///< of each partition
  at::ScalarType dtype = at::kFloat;
  std::shared_ptr<const exchange::Others> others;  ///< null: all partitions are in this process
};

/// What stages are told of one partition (distmlip/models/local_graph.py, LocalGraph).
struct GraphPart : LocalTensors {
  int64_t n_owned = 0;
  at::Tensor atoms, numbers;  ///< (n_local) int64
};

class Graphs {
 public:
  explicit Graphs(GraphsRequest request);

  /// The parts at these positions. After an error the graph is the old one, or built at the next call.
  /// Throws std::invalid_argument if the structure cannot be cut or has too many angles.
  std::vector<GraphPart> at(const Structure& structure, const Agree& agree);

  /// The same of a system of which each process gives the atoms that it owns. `tags`: where these or the
  /// atoms that are near are others than before, on all ranks alike; else null. Throws std::invalid_argument,
  /// in every process, also if atoms have moved too far for those that were near.
  std::vector<GraphPart> at(const Structure& own, const Tags* tags, const Agree& agree);

  /// Whether there is a graph: not before the first at(), nor while it is built anew. Others throw then.
  bool is_built() const { return graph_ != nullptr; }

  /// What at() brought to the last positions.
  std::shared_ptr<Step> step() const { return graph().step; }

  /// How many graphs there have been.
  int64_t n_built() const { return n_built_; }

  int32_t n_partitions() const { return request_.cut.n_partitions; }
  at::ScalarType dtype() const { return request_.dtype; }

  /// The graph is a function of these positions and of this cell, in which it was built.
  const partition::Decomposition& decomposition() const { return *graph().decomposition; }

  /// The cut that was made.
  cut::Method method() const { return graph().decomposition->method; }

  /// Atoms of this process, ascending.
  const std::vector<int64_t>& owned() const { return graph().owned; }

  /// Of all processes; 0 without a bond cutoff.
  int64_t n_angles_total() const { return graph().n_angles_total; }

  /// One row for each of owned(), in float64 on the host. `rows`: of each partition's owned atoms, undefined
  /// for those without atoms.
  at::Tensor in_order(const exchange::PerPartition& rows) const;

  /// Of a system of which each process gives its atoms: sums over atoms of this process, here and elsewhere.
  void bring_home(Forces& forces) const;

 private:
  /// What holds for one graph: made as a whole and replaced as a whole.
  struct Graph {
    std::shared_ptr<const partition::Decomposition> decomposition;
    std::shared_ptr<Step> step;
    std::vector<int64_t> owned;
    std::vector<int64_t> place;    // (n_atoms) row of each atom in `owned`
    std::vector<int64_t> numbers;  // (n_atoms), and those of local rows:
    exchange::PerPartition local_numbers;
    int64_t n_angles_total = 0;
  };

  /// Throws std::logic_error if there is none.
  const Graph& graph() const;
  std::unique_ptr<Graph> built(const Structure& structure,
                               std::shared_ptr<const partition::SharedAtoms> shared,
                               const Agree& agree) const;
  std::vector<GraphPart> parts_at(const Structure& structure, const Agree& agree);
  void check_near(const Structure& structure, const Agree& agree) const;
  /// The partitions whose graphs are made on devices.
  std::vector<partition::DeviceShare> shares() const;
  void set_numbers(const Structure& structure);

  GraphsRequest request_;
  std::unique_ptr<Graph> graph_;
  std::optional<SharedSystem> shared_;  // of a system that processes share
  int64_t n_built_ = 0;
};

}  // namespace distmlip::executor
