#include "native/partition_run.h"

#include <ATen/ops/empty.h>

#include <algorithm>

#include "core/error.h"
#include "core/thread_pool.h"
#include "exchange/host_tensors.h"

namespace distmlip::native {

template <class T>
std::unique_ptr<Workspace<T>> Workspaces<T>::take() {
  {
    const std::lock_guard lock(mutex_);
    if (!free_.empty()) {
      auto workspace = std::move(free_.back());
      free_.pop_back();
      return workspace;
    }
  }
  return std::make_unique<Workspace<T>>(registers_);
}

template <class T>
void Workspaces<T>::give(std::unique_ptr<Workspace<T>> workspace) {
  const std::lock_guard lock(mutex_);
  free_.push_back(std::move(workspace));
}

template <class T>
PartitionRun<T>::PartitionRun(const Program<T>& program, Workspaces<T>& workspaces,
                              executor::NativeGraph graph, const executor::Tensors& inputs, int n_threads)
    : program_(program), workspaces_(workspaces), graph_(std::move(graph)) {
  read_graph();
  for (const Input& input : program.inputs) {
    const auto found = inputs.find(input.name);
    if (found == inputs.end()) invalid("there is no '", input.name, "'");
    const at::Tensor given = found->second.contiguous();
    const int64_t rows = input.of_senders || input.shares >= 0 ? n_local_ : n_owned_;
    const Layout& layout = program.registers[static_cast<size_t>(input.of)].layout;
    if (given.scalar_type() != graph_.vectors.scalar_type() || !given.device().is_cpu() || given.dim() < 1 ||
        given.size(0) != rows || given.numel() != rows * layout.width())
      invalid("'", input.name, "' must be (", rows, ", ", layout.width(),
              ") in the stage's dtype on the host");
    inputs_.push_back(given);
    input_sizes_.push_back(given.sizes().vec());
  }
  order_edges(n_threads);
  evaluate_pairs(n_threads);
  read_senders(n_threads);
}

template <class T>
executor::Tensors PartitionRun<T>::empty_outputs() const {
  executor::Tensors outputs;
  const auto own = graph_.vectors.options();
  for (const Output& output : program_.outputs) {
    const int64_t width = program_.registers[static_cast<size_t>(output.of)].layout.width();
    const auto options = output.in_float64 ? own.dtype(at::kDouble) : own;
    outputs[output.name] =
        output.is_flat ? exchange::empty({n_owned_}, options) : exchange::empty({n_owned_, width}, options);
  }
  for (const Constant& constant : program_.constant_outputs)
    outputs[constant.name] = exchange::empty({n_owned_}, own.dtype(at::kDouble));
  for (const std::string& name : program_.edge_counts) {
    outputs[name] = at::empty({}, own.dtype(at::kLong));
    *outputs[name].template mutable_data_ptr<int64_t>() = n_edges_;
  }
  return outputs;
}

template <class T>
executor::Tensors PartitionRun<T>::forward(bool keep, int n_threads) {
  executor::Tensors outputs = empty_outputs();
  if (keep) {
    saved_.resize(program_.registers.size());
    saved_data_.resize(program_.registers.size(), nullptr);
    for (size_t r = 0; r < saved_.size(); ++r) {
      if (!program_.keeps(r)) continue;
      saved_[r] = exchange::empty({n_owned_ * program_.registers[r].layout.size()}, graph_.vectors.options());
      saved_data_[r] = saved_[r].template mutable_data_ptr<T>();
    }
  }
  for (const Constant& constant : program_.constant_outputs) {
    auto* to = outputs[constant.name].template mutable_data_ptr<double>();
    for (int64_t atom = 0; atom < n_owned_; ++atom)
      to[atom] = constant.of_species[static_cast<size_t>(species(atom))];
  }
  const int64_t n_blocks = (n_owned_ + atoms_per_block - 1) / atoms_per_block;
  parallel_for(n_blocks, n_threads, [&](int64_t block, int) {
    auto space = workspaces_.take();
    forward(*space, block * atoms_per_block, outputs);
    workspaces_.give(std::move(space));
  });
  if (keep)
    for (size_t k = 0; k < inputs_.size(); ++k)
      if (!program_.inputs[k].of_senders &&
          !program_.registers[static_cast<size_t>(program_.inputs[k].of)].is_saved)
        inputs_[k].reset();  // whoever else has it may let it go
  return outputs;
}

/// Chooses atoms. Their rows are where they are kept, if they are.
template <class T>
int PartitionRun<T>::begin(Block<T>& block, int64_t first_atom) const {
  const auto n = static_cast<int>(std::min<int64_t>(atoms_per_block, n_owned_ - first_atom));
  block.set_atoms(species_.data() + first_atom, n, program_.n_species());
  for (size_t r = 0; r < program_.registers.size(); ++r) {
    const bool is_kept = !saved_.empty() && program_.keeps(r);
    block.place_value(r,
                      is_kept ? saved_data_[r] + first_atom * program_.registers[r].layout.size() : nullptr);
    block.place_gradient(r, nullptr);
  }
  return n;
}

/// Rows of the atoms' own inputs and constants.
template <class T>
void PartitionRun<T>::load(Workspace<T>& space, int64_t first_atom, int n) const {
  Block<T>& block = space.block;
  for (size_t k = 0; k < program_.inputs.size(); ++k)
    if (!program_.inputs[k].of_senders) load(space, k, first_atom, n);
  for (size_t r = 0; r < program_.constants.size(); ++r) {
    const Buffer<T>& constant = program_.constants[r];
    if (constant.empty() || !program_.is_read[r]) continue;
    const int64_t size = program_.registers[r].layout.size();
    for (int atom = 0; atom < n; ++atom)
      std::copy_n(constant.data() + species(first_atom + atom) * size, size,
                  block.value(static_cast<int>(r), atom));
  }
}

template <class T>
void PartitionRun<T>::load(Workspace<T>& space, size_t k, int64_t first_atom, int n) const {
  const Input& input = program_.inputs[k];
  const Layout& layout = program_.registers[static_cast<size_t>(input.of)].layout;
  const T* given = inputs_[k].template const_data_ptr<T>() + first_atom * layout.width();
  if (layout.is_same_as(input.order)) {
    space.block.place_value(static_cast<size_t>(input.of),
                            const_cast<T*>(given));  // nothing writes to inputs
    return;
  }
  for (int atom = 0; atom < n; ++atom)
    layout.read(given + atom * layout.width(), space.block.value(input.of, atom), input.order);
}

/// For the edges that the workspace has now.
template <class T>
EdgeRows<T> PartitionRun<T>::rows_for(Workspace<T>& space, const EdgeOperator<T>& edge) const {
  EdgeRows<T> rows{space.senders.data(), nullptr, nullptr};
  if (edge.functions >= 0) rows.kept = kept_data_[static_cast<size_t>(edge.functions)];
  if (edge.reads < 0) return rows;
  const auto r = static_cast<size_t>(edge.reads);
  const int64_t size = program_.registers[r].layout.size();
  const bool by_species = !program_.constants[r].empty();
  for (size_t e = 0; e < static_cast<size_t>(space.edges.n); ++e) {
    const int32_t sender = space.edges.senders[e];
    space.senders[e] = sender_data_[r] + size * (by_species ? species(sender) : sender);
  }
  return rows;
}

/// Fills the block's registers.
template <class T>
void PartitionRun<T>::compute(Workspace<T>& space, int64_t first_atom) const {
  Block<T>& block = space.block;
  load(space, first_atom, block.n);
  for (const auto& edge : program_.edge_operators) {
    const int64_t size = program_.registers[static_cast<size_t>(edge->writes)].layout.size();
    std::fill_n(block.value(edge->writes, 0), size * block.n, T(0));
  }
  for (Cursor cursor; next(space.edges, first_atom, block.n, cursor, 1);) {
    for (const auto& edge : program_.edge_operators) {
      const int64_t size = program_.registers[static_cast<size_t>(edge->writes)].layout.size();
      edge->forward(space.edges, rows_for(space, *edge), block.value(edge->writes, 0), size);
    }
  }
  for (const auto& node : program_.node_operators) node->forward(block);
}

template <class T>
void PartitionRun<T>::forward(Workspace<T>& space, int64_t first_atom, executor::Tensors& outputs) const {
  begin(space.block, first_atom);
  for (const Output& output : program_.outputs) {
    if (!computes_in_place(output)) continue;
    T* rows = outputs.at(output.name).template mutable_data_ptr<T>();
    const auto of = static_cast<size_t>(output.of);
    space.block.place_value(of, rows + first_atom * program_.registers[of].layout.size());
  }
  compute(space, first_atom);
  write_outputs(space, first_atom, outputs);
}

/// Whether its rows are computed where they are wanted.
template <class T>
bool PartitionRun<T>::computes_in_place(const Output& output) const {
  const auto of = static_cast<size_t>(output.of);
  const Register& rows = program_.registers[of];
  return rows.source == Register::Source::computed && !(program_.keeps(of) && !saved_.empty()) &&
         !output.in_float64 && output.factor == 1 && output.shift == 0 &&
         rows.layout.is_same_as(output.order);
}

template <class T>
void PartitionRun<T>::write_outputs(Workspace<T>& space, int64_t first_atom,
                                    executor::Tensors& outputs) const {
  for (const Output& output : program_.outputs) {
    if (computes_in_place(output)) continue;
    const Layout& layout = program_.registers[static_cast<size_t>(output.of)].layout;
    at::Tensor& tensor = outputs.at(output.name);
    for (int atom = 0; atom < space.block.n; ++atom) {
      const T* row = space.block.value(output.of, atom);
      const int64_t to = (first_atom + atom) * layout.width();
      if (output.in_float64)
        tensor.template mutable_data_ptr<double>()[to] =
            static_cast<double>(row[0]) * output.factor + output.shift;
      else
        layout.write(row, tensor.template mutable_data_ptr<T>() + to, output.order);
    }
  }
}

template class Workspaces<float>;
template class Workspaces<double>;
template PartitionRun<float>::PartitionRun(const Program<float>&, Workspaces<float>&, executor::NativeGraph,
                                           const executor::Tensors&, int);
template executor::Tensors PartitionRun<float>::forward(bool, int);
template EdgeRows<float> PartitionRun<float>::rows_for(Workspace<float>&, const EdgeOperator<float>&) const;
template int PartitionRun<float>::begin(Block<float>&, int64_t) const;
template void PartitionRun<float>::load(Workspace<float>&, size_t, int64_t, int) const;
template void PartitionRun<float>::compute(Workspace<float>&, int64_t) const;
template PartitionRun<double>::PartitionRun(const Program<double>&, Workspaces<double>&,
                                            executor::NativeGraph, const executor::Tensors&, int);
template executor::Tensors PartitionRun<double>::forward(bool, int);
template EdgeRows<double> PartitionRun<double>::rows_for(Workspace<double>&,
                                                         const EdgeOperator<double>&) const;
template int PartitionRun<double>::begin(Block<double>&, int64_t) const;
template void PartitionRun<double>::load(Workspace<double>&, size_t, int64_t, int) const;
template void PartitionRun<double>::compute(Workspace<double>&, int64_t) const;

}  // namespace distmlip::native
