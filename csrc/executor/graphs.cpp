#include "executor/graphs.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <stdexcept>
#include <utility>

#include "core/error.h"
#include "exchange/remote_rows.h"
#include "executor/device.h"

namespace distmlip::executor {

Graphs::Graphs(GraphsRequest request) : request_(std::move(request)) {}

std::vector<GraphPart> Graphs::at(const Structure& structure, const Agree& agree) {
  if (!graph_ || shared_ ||
      !partition::still_valid(*graph_->decomposition, structure.positions, structure.n_atoms,
                              structure.cell)) {
    graph_ = nullptr;  // the new one may use the memory of the old one
    shared_.reset();
    graph_ = built(structure, nullptr, agree);
    ++n_built_;
  }
  return parts_at(structure, agree);
}

std::vector<GraphPart> Graphs::at(const Structure& own, const Tags* tags, const Agree& agree) {
  if (request_.others == nullptr) throw std::logic_error("atoms of other processes, but there are none");
  if (tags != nullptr) {
    graph_ = nullptr;
    shared_.emplace(own, *tags, request_.cut, *request_.others, agree);
    graph_ = built(shared_->structure(), shared_->atoms(), agree);
    ++n_built_;
  } else {
    if (!shared_ || shared_->n_own() != own.n_atoms) throw std::logic_error("other atoms, but no tags");
    shared_->move(own, *graph().step->remote_atoms());
    check_near(shared_->structure(), agree);
  }
  return parts_at(shared_->structure(), agree);
}

void Graphs::check_near(const Structure& structure, const Agree& agree) const {
  const bool is_valid =
      partition::still_valid(*graph_->decomposition, structure.positions, structure.n_atoms, structure.cell);
  if (request_.others->ranks->sum(is_valid ? 0 : 1) == 0) return;
  in_agreement(agree, [&] {
    if (!is_valid)
      invalid("atoms of rank ", request_.others->ranks->rank(),
              " have moved by more than half of the skin of ", request_.cut.skin,
              " Ang since neighbours were last looked for, or their positions are no numbers");
    return 0;
  });
}

std::vector<GraphPart> Graphs::parts_at(const Structure& structure, const Agree& agree) {
  const bool is_new = graph_->local_numbers.empty();  // in a process without atoms all numbers are equal
  if (is_new || !std::equal(graph_->numbers.begin(), graph_->numbers.end(), structure.numbers,
                            structure.numbers + structure.n_atoms)) {
    set_numbers(structure);
  }
  Step& step = *graph_->step;
  if (graph_->decomposition->has_bonds()) {  // there may be too many angles, in any partition
    graph_->n_angles_total = in_agreement(agree, [&] {
      step.update(structure.positions, structure.cell);
      const auto n_angles = step.n_angles();
      return std::accumulate(n_angles.begin(), n_angles.end(), int64_t{0});
    });
  } else {
    step.update(structure.positions, structure.cell);
  }
  std::vector<GraphPart> parts;
  for (size_t p = 0; p < step.parts().size(); ++p) {
    parts.push_back({step.parts()[p], graph_->decomposition->parts[p].n_owned(), step.local_atoms()[p],
                     graph_->local_numbers[p]});
  }
  return parts;
}

const Graphs::Graph& Graphs::graph() const {
  if (!graph_) throw std::logic_error("there is no graph; call at() first");
  return *graph_;
}

std::unique_ptr<Graphs::Graph> Graphs::built(const Structure& structure,
                                             std::shared_ptr<const partition::SharedAtoms> shared,
                                             const Agree& agree) const {
  auto graph = std::make_unique<Graph>();
  in_agreement(agree, [&] {
    partition::Request request = request_.cut;
    request.positions = structure.positions;
    request.n_atoms = structure.n_atoms;
    request.cell = structure.cell;
    request.n_threads = at::get_num_threads();
    request.devices = shares();
    request.shared = std::move(shared);
    if (!request_.weights.empty()) {
      if (std::ssize(request_.weights) != structure.n_atoms) {
        invalid("weights has ", request_.weights.size(), " entries for ", structure.n_atoms,
                " atoms; give one per atom");
      }
      request.weights = request_.weights.data();
    }
    graph->decomposition = std::make_shared<const partition::Decomposition>(partition::decompose(request));
    return 0;
  });
  graph->step =
      std::make_shared<Step>(graph->decomposition, request_.devices, request_.dtype, request_.others);
  const partition::Decomposition& decomposition = *graph->decomposition;
  graph->place.resize(static_cast<size_t>(structure.n_atoms));
  for (int64_t atom = 0; atom < structure.n_atoms; ++atom) {
    if (decomposition.here.has(decomposition.owner[atom])) {
      graph->place[atom] = std::ssize(graph->owned);
      graph->owned.push_back(atom);
    }
  }
  return graph;
}

std::vector<partition::DeviceShare> Graphs::shares() const {
  std::map<at::DeviceIndex, partition::DeviceShare> shares;
  for (int32_t p = 0; p < n_partitions(); ++p) {
    const at::Device device = request_.devices[p];
    if (has_kernels(device))
      shares.try_emplace(device.index(), share_of(device)).first->second.partitions.push_back(p);
  }
  std::vector<partition::DeviceShare> result;
  for (auto& [index, share] : shares) result.push_back(std::move(share));
  return result;
}

void Graphs::set_numbers(const Structure& structure) {
  const auto& parts = graph_->decomposition->parts;
  exchange::PerPartition local_numbers;
  for (size_t p = 0; p < parts.size(); ++p) {
    auto of_rows = at::empty({parts[p].n_local()}, at::kLong);
    auto* number = of_rows.mutable_data_ptr<int64_t>();
    for (int64_t row = 0; row < parts[p].n_local(); ++row)
      number[row] = structure.numbers[parts[p].global(row)];
    local_numbers.push_back(of_rows.to(request_.devices[p]));
  }
  graph_->numbers.assign(structure.numbers, structure.numbers + structure.n_atoms);
  graph_->local_numbers = std::move(local_numbers);
}

at::Tensor Graphs::in_order(const exchange::PerPartition& rows) const {
  const auto& parts = graph().decomposition->parts;
  at::Tensor all;
  for (size_t p = 0; p < rows.size(); ++p) {
    if (!rows[p].defined()) continue;
    const at::Tensor of_part = rows[p].to(at::kCPU, at::kDouble).contiguous();
    if (!all.defined()) {
      auto shape = of_part.sizes().vec();
      shape.at(0) = std::ssize(graph_->owned);
      all = at::empty(shape, at::kDouble);
    }
    TORCH_CHECK(of_part.sizes().slice(1) == all.sizes().slice(1) && of_part.size(0) == parts[p].n_owned(),
                "a result has the shape ", of_part.sizes(), " on partition ", p, " and ", all.sizes(),
                " in all");
    const int64_t width = of_part.numel() / std::max<int64_t>(1, of_part.size(0));
    const double* from = of_part.const_data_ptr<double>();
    double* to = all.mutable_data_ptr<double>();  // not in the loop, as torch checks the tensor each time
    for (const int32_t atom : parts[p].owned) {
      std::copy_n(from, width, to + width * graph_->place[atom]);
      from += width;
    }
  }
  return all;
}

void Graphs::bring_home(Forces& forces) const {
  if (!shared_) return;
  const exchange::RemoteAtoms& remote = *graph().step->remote_atoms();
  const auto bring = [&](at::Tensor& rows) {
    if (!rows.defined()) return;
    remote.give_back(rows.mutable_data_ptr<double>(), rows.numel() / std::max<int64_t>(1, rows.size(0)));
    rows = rows.narrow(0, 0, shared_->n_own());
  };
  bring(forces.forces);
  bring(forces.virials);
}

}  // namespace distmlip::executor
