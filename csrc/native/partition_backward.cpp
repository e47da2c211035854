#include <algorithm>

#include "core/error.h"
#include "core/thread_pool.h"
#include "exchange/host_tensors.h"
#include "native/partition_run.h"

namespace distmlip::native {
namespace {

/// Rows whose gradients are added up by one thread.
constexpr int64_t rows_per_job = 64;

/// That have gradients in memory of their own: all of a large partition would have several times its rows.
constexpr int64_t chunks_at_a_time = 64;

}  // namespace

template <class T>
executor::Gradients PartitionRun<T>::backward(const executor::Tensors& output_gradients, int n_threads) {
  read_output_gradients(output_gradients);
  make_gradients();
  const int64_t per_chunk = atoms_per_chunk(n_owned_);
  const int64_t n_chunks = (n_owned_ + per_chunk - 1) / per_chunk;
  for (int64_t first = 0; first < n_chunks; first += chunks_at_a_time)
    chunks_backward(per_chunk, first, std::min(chunks_at_a_time, n_chunks - first), n_threads);
  if (program_.back_by_sender) senders_backward(n_threads);
  executor::Gradients gradients{{}, vector_gradients_};
  for (size_t k = 0; k < program_.inputs.size(); ++k)
    gradients.inputs[program_.inputs[k].name] = input_gradients_[k];
  return gradients;
}

template <class T>
void PartitionRun<T>::read_output_gradients(const executor::Tensors& output_gradients) {
  output_gradients_.clear();
  for (const Output& output : program_.outputs) {
    const auto found = output_gradients.find(output.name);
    at::Tensor given;
    if (found != output_gradients.end() && found->second.defined()) {
      const int64_t width = program_.registers[static_cast<size_t>(output.of)].layout.width();
      given = found->second.contiguous();
      const auto dtype = output.in_float64 ? at::kDouble : graph_.vectors.scalar_type();
      if (given.scalar_type() != dtype || !given.device().is_cpu() || given.numel() != n_owned_ * width)
        invalid("the gradient of '", output.name, "' must have its shape and dtype, on the host");
    }
    output_gradients_.push_back(given);
  }
}

/// Of n_chunks chunks with so many atoms.
template <class T>
void PartitionRun<T>::chunks_backward(int64_t n_atoms, int64_t first_chunk, int64_t n_chunks, int n_threads) {
  const bool by_sender = program_.back_by_sender;
  std::vector<Chunk> chunks(static_cast<size_t>(n_chunks));
  parallel_for(n_chunks, n_threads, [&](int64_t k, int) {
    auto space = workspaces_.take();
    Chunk& chunk = chunks[static_cast<size_t>(k)];
    const int64_t first = (first_chunk + k) * n_atoms, last = std::min(n_owned_, first + n_atoms);
    if (!by_sender) find_rows(*space, chunk, first, last);
    for (int64_t atom = first; atom < last; atom += atoms_per_block) backward(*space, chunk, atom);
    for (const int32_t row : chunk.rows) space->row_of[static_cast<size_t>(row)] = -1;
    workspaces_.give(std::move(space));
  });
  for (size_t k = 0; k < program_.inputs.size() && !by_sender; ++k)
    if (program_.inputs[k].of_senders) add_up(chunks, k, n_threads);
}

template <class T>
void PartitionRun<T>::make_gradients() {
  vector_gradients_ = exchange::empty({n_edges_, 3}, graph_.vectors.options());
  input_gradients_.clear();
  for (size_t k = 0; k < inputs_.size(); ++k) {
    const int shares = program_.inputs[k].shares;
    input_gradients_.push_back(shares >= 0 ? input_gradients_[static_cast<size_t>(shares)]
                                           : exchange::empty(input_sizes_[k], graph_.vectors.options()));
    if (program_.inputs[k].of_senders && !program_.back_by_sender)  // chunks add to them
      std::fill_n(input_gradients_[k].template mutable_data_ptr<T>(), input_gradients_[k].numel(), T(0));
  }
  message_gradients_.clear();
  message_gradient_data_.clear();
  if (!program_.back_by_sender) return;
  for (const auto& edge : program_.edge_operators) {
    const int64_t size = program_.registers[static_cast<size_t>(edge->writes)].layout.size();
    message_gradients_.push_back(exchange::empty({n_owned_ * size}, graph_.vectors.options()));
    message_gradient_data_.push_back(message_gradients_.back().template mutable_data_ptr<T>());
  }
}

template <class T>
void PartitionRun<T>::find_rows(Workspace<T>& space, Chunk& chunk, int64_t first_atom,
                                int64_t last_atom) const {
  chunk.gradients.resize(program_.inputs.size());
  const bool any = std::any_of(program_.inputs.begin(), program_.inputs.end(),
                               [](const Input& input) { return input.of_senders; });
  if (!any) return;
  if (space.row_of.size() < static_cast<size_t>(n_local_))
    space.row_of.resize(static_cast<size_t>(n_local_), -1);
  const int64_t last = first_edge_[static_cast<size_t>(last_atom)];
  for (int64_t e = first_edge_[static_cast<size_t>(first_atom)]; e < last; ++e) {
    int32_t& row = space.row_of[static_cast<size_t>(senders_[e])];
    if (row >= 0) continue;
    row = static_cast<int32_t>(chunk.rows.size());
    chunk.rows.push_back(static_cast<int32_t>(senders_[e]));
  }
  for (size_t k = 0; k < program_.inputs.size(); ++k) {
    if (!program_.inputs[k].of_senders) continue;
    const int64_t size = program_.registers[static_cast<size_t>(program_.inputs[k].of)].layout.size();
    chunk.gradients[k].resize(chunk.rows.size() * static_cast<size_t>(size) + slack);
    std::fill(chunk.gradients[k].begin(), chunk.gradients[k].end(), T(0));
  }
}

/// Gradients of the outputs, as rows.
template <class T>
void PartitionRun<T>::seed(Workspace<T>& space, int64_t first_atom) const {
  Block<T>& block = space.block;
  for (size_t k = 0; k < program_.outputs.size(); ++k) {
    const Output& output = program_.outputs[k];
    const Layout& layout = program_.registers[static_cast<size_t>(output.of)].layout;
    const at::Tensor& given = output_gradients_[k];
    for (int atom = 0; atom < block.n; ++atom) {
      T* row = block.gradient(output.of, atom);
      const int64_t from = (first_atom + atom) * layout.width();
      if (!given.defined()) {
        std::fill_n(row, layout.size(), T(0));
      } else if (output.in_float64) {
        std::fill_n(row, layout.size(), T(0));
        row[0] = static_cast<T>(given.template const_data_ptr<double>()[from] * output.factor);
      } else {
        layout.read(given.template const_data_ptr<T>() + from, row, output.order);
      }
    }
  }
}

template <class T>
void PartitionRun<T>::backward(Workspace<T>& space, Chunk& chunk, int64_t first_atom) {
  Block<T>& block = space.block;
  const int n = begin(block, first_atom);
  if (saved_.empty())
    compute(space, first_atom);
  else
    for (size_t k = 0; k < program_.inputs.size(); ++k)
      if (program_.registers[static_cast<size_t>(program_.inputs[k].of)].is_saved)
        load(space, k, first_atom, n);
  place_gradients(block, first_atom);
  seed(space, first_atom);
  for (size_t k = program_.node_operators.size(); k-- > 0;)
    if (program_.leads_back[k]) program_.node_operators[k]->backward(block);
  if (!program_.back_by_sender)
    for (Cursor cursor; next(space.edges, first_atom, n, cursor, 2);) edges_backward(space, chunk);
  for (size_t k = 0; k < program_.inputs.size(); ++k) {
    const Input& input = program_.inputs[k];
    if (input.of_senders) continue;
    const Layout& layout = program_.registers[static_cast<size_t>(input.of)].layout;
    if (layout.is_same_as(input.order)) continue;
    T* to = input_gradients_[k].template mutable_data_ptr<T>() + first_atom * layout.width();
    for (int atom = 0; atom < n; ++atom)
      layout.write(block.gradient(input.of, atom), to + atom * layout.width(), input.order);
  }
}

/// Of what is wanted of the block: where it is wanted, if rows are the same there.
template <class T>
void PartitionRun<T>::place_gradients(Block<T>& block, int64_t first_atom) const {
  for (size_t k = 0; k < message_gradient_data_.size(); ++k) {
    const auto of = static_cast<size_t>(program_.edge_operators[k]->writes);
    block.place_gradient(of, message_gradient_data_[k] + first_atom * program_.registers[of].layout.size());
  }
  for (size_t k = 0; k < program_.inputs.size(); ++k) {
    const Input& input = program_.inputs[k];
    const auto of = static_cast<size_t>(input.of);
    const Layout& layout = program_.registers[of].layout;
    if (!input.of_senders && layout.is_same_as(input.order))
      block.place_gradient(of,
                           input_gradients_[k].template mutable_data_ptr<T>() + first_atom * layout.width());
  }
}

/// For the edges that the workspace has now.
template <class T>
void PartitionRun<T>::edges_backward(Workspace<T>& space, Chunk& chunk) const {
  EdgeBlock<T>& edges = space.edges;
  clear_gradients(edges);
  for (const auto& edge : program_.edge_operators) {
    EdgeRows<T> rows = rows_for(space, *edge);
    for (size_t k = 0; k < program_.inputs.size(); ++k) {
      const Input& input = program_.inputs[k];
      if (!input.of_senders || input.of != edge->reads) continue;
      const int64_t size = program_.registers[static_cast<size_t>(input.of)].layout.size();
      for (size_t e = 0; e < static_cast<size_t>(edges.n); ++e)
        space.sender_gradients[e] =
            chunk.gradients[k].data() + size * space.row_of[static_cast<size_t>(edges.senders[e])];
      rows.sender_gradients = space.sender_gradients.data();
    }
    const int64_t size = program_.registers[static_cast<size_t>(edge->writes)].layout.size();
    edge->backward(edges, rows, space.block.gradient(edge->writes, 0), size);
  }
  pull_back(edges, space);
}

/// From gradients of harmonics and lengths to those of vectors.
template <class T>
void PartitionRun<T>::pull_back(EdgeBlock<T>& edges, Workspace<T>& space) const {
  T* gradients = vector_gradients_.template mutable_data_ptr<T>();
  if (!program_.reads_harmonics) {
    for (size_t e = 0; e < static_cast<size_t>(edges.n); ++e) {
      const T scale = edges.length_gradients[e] / edges.lengths[e];
      for (int k = 0; k < 3; ++k) gradients[3 * edges.edges[e] + k] = scale * edges.vectors[e][k];
    }
    return;
  }
  for (size_t e = 0; e < static_cast<size_t>(edges.n); ++e)
    space.vector_gradients[e] = gradients + 3 * edges.edges[e];
  program_.operators->harmonics_back(edges.n, edges.vectors.data(), program_.sign,
                                     edges.harmonic_gradients.data(), edges.length_gradients.data(),
                                     space.vector_gradients.data());
}

/// Adds what chunks have to the input's gradients, chunk by chunk in their order.
template <class T>
void PartitionRun<T>::add_up(const std::vector<Chunk>& chunks, size_t input, int n_threads) {
  const Layout& layout = program_.registers[static_cast<size_t>(program_.inputs[input].of)].layout;
  const int64_t size = layout.size();
  std::vector<std::vector<const T*>> parts(static_cast<size_t>(n_local_));
  for (const Chunk& chunk : chunks)
    for (size_t k = 0; k < chunk.rows.size(); ++k)
      parts[static_cast<size_t>(chunk.rows[k])].push_back(chunk.gradients[input].data() +
                                                          static_cast<int64_t>(k) * size);
  T* total = input_gradients_[input].template mutable_data_ptr<T>();
  parallel_for((n_local_ + rows_per_job - 1) / rows_per_job, n_threads, [&](int64_t job, int) {
    std::vector<T> sum(static_cast<size_t>(size));
    for (int64_t row = job * rows_per_job; row < std::min(n_local_, (job + 1) * rows_per_job); ++row) {
      if (parts[static_cast<size_t>(row)].empty()) continue;
      layout.read(total + row * layout.width(), sum.data(), program_.inputs[input].order);
      for (const T* part : parts[static_cast<size_t>(row)])
        for (int64_t c = 0; c < size; ++c) sum[static_cast<size_t>(c)] += part[c];
      layout.write(sum.data(), total + row * layout.width(), program_.inputs[input].order);
    }
  });
}

template executor::Gradients PartitionRun<float>::backward(const executor::Tensors&, int);
template void PartitionRun<float>::pull_back(EdgeBlock<float>&, Workspace<float>&) const;
template void PartitionRun<double>::pull_back(EdgeBlock<double>&, Workspace<double>&) const;
template executor::Gradients PartitionRun<double>::backward(const executor::Tensors&, int);

}  // namespace distmlip::native
