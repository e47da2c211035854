#include "executor/step.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "core/thread_pool.h"
#include "exchange/host_tensors.h"
#include "executor/device_parts.h"

namespace distmlip::executor {
namespace {

/// Memory for n rows: `kept`, unless it is too small or somebody else still looks at it. `columns`: 0 for one
/// dimension.
at::Tensor& room_for(at::Tensor& kept, int64_t n, int64_t columns, at::ScalarType dtype) {
  if (!kept.defined() || kept.size(0) < n || kept.storage().use_count() > 1)
    kept = columns == 0 ? exchange::empty({n}, dtype) : exchange::empty({n, columns}, dtype);
  return kept;
}

/// n rows of `kept`. New memory has a little more: the next step may need a few more rows.
at::Tensor rows_of(at::Tensor& kept, int64_t n, int64_t columns = 0) {
  const bool fits = kept.defined() && kept.size(0) >= n;
  return room_for(kept, fits ? n : n + n / 32 + 16, columns, at::kLong).narrow(0, 0, n);
}

}  // namespace

Step::Step(std::shared_ptr<const partition::Decomposition> decomposition, std::vector<at::Device> devices,
           at::ScalarType dtype, std::shared_ptr<const exchange::Others> others)
    : decomposition_(std::move(decomposition)),
      others_(std::move(others)),
      devices_(std::move(devices)),
      dtype_(dtype),
      graphs_(decomposition_->parts.size()),
      kept_(decomposition_->parts.size()),
      parts_(decomposition_->parts.size()),
      host_parts_(decomposition_->parts.size()),
      local_forces_(decomposition_->parts.size()) {
  if (devices_.size() != parts_.size())
    invalid("got ", devices_.size(), " devices for ", parts_.size(), " partitions; give one each");
  if (dtype_ != at::kFloat && dtype_ != at::kDouble)
    invalid("the dtype is ", dtype_, "; it must be float32 or float64");
  if (others_ && std::count(devices_.begin(), devices_.end(), devices_.front()) != std::ssize(devices_))
    invalid("a rank has one device; start one process for each");
  if (others_)
    remote_atoms_ = std::make_unique<exchange::RemoteAtoms>(*decomposition_, *others_, devices_.front());
  atoms_ = exchange::atom_routes(*decomposition_, devices_, others_.get(), remote_atoms_.get());
  for (size_t p = 0; p < parts_.size(); ++p) {
    const std::vector<int32_t> atoms = decomposition_->parts[p].atoms();
    local_atoms_.push_back(exchange::index_tensor({atoms.begin(), atoms.end()}, devices_[p]));
  }
  make_device_parts();
}

void Step::make_device_parts() {
  for (auto begin = devices_.begin(); begin != devices_.end(); ++begin) {
    if (std::find(devices_.begin(), begin, *begin) != begin) continue;
    std::vector<int32_t> partitions;
    for (size_t p = 0; p < parts_.size(); ++p)
      if (devices_[p] == *begin && !on_host(p)) partitions.push_back(static_cast<int32_t>(p));
    if (!partitions.empty())
      devices_with_parts_.emplace_back(*decomposition_, *begin, std::move(partitions), dtype_);
  }
}

Step::~Step() = default;

void Step::update(const double* positions, const Cell& cell) {
  bonds_ = {};  // they hold tensors whose memory is used again
  const partition::Snapshot snapshot(*decomposition_, positions, cell);
  const int n_threads = at::get_num_threads();
  const auto n_parts = static_cast<int64_t>(parts_.size());
  // Partitions in parallel, or, if there are fewer of them than threads, each in parallel.
  const int at_once = n_parts < n_threads ? 1 : n_threads;
  parallel_for(n_parts, at_once, [&](int64_t i, int) {
    if (on_host(i)) {
      parts_[i] = host_parts_[i] = {};
      parts_[i] = host_parts_[i] = write(i, snapshot, n_threads / at_once);
      if (!devices_[i].is_cpu())
        parts_[i].for_each([&](at::Tensor& tensor) { tensor = tensor.to(devices_[i]); });
    }
  });
  const auto n_devices = std::ssize(devices_with_parts_);
  parallel_for(n_devices, static_cast<int>(n_devices),
               [&](int64_t d, int) { devices_with_parts_[d].update(snapshot, parts_, graphs_); });
  if (decomposition_->has_bonds()) {
    exchange::PerPartition cut;
    for (const auto& part : parts_) cut.push_back(part.cut);
    bonds_ = exchange::bond_routes(graphs_, std::move(cut), others_.get());
  }
}

template <class Real>
LocalTensors Step::write_edges(size_t p, const partition::Snapshot& snapshot, int n_threads) {
  LocalTensors& kept = kept_[p];
  auto& graph = graphs_[p];
  const int64_t room = partition::edge_room(decomposition_->parts[p], n_threads);
  partition::write_edges<Real>(
      snapshot, static_cast<int32_t>(p), n_threads, /*with_candidates=*/false,
      {room_for(kept.senders, room, 0, at::kLong).template mutable_data_ptr<int64_t>(),
       room_for(kept.receivers, room, 0, at::kLong).template mutable_data_ptr<int64_t>(),
       room_for(kept.vectors, room, 3, dtype_).template mutable_data_ptr<Real>()},
      graph);
  LocalTensors tensors;
  tensors.senders = kept.senders.narrow(0, 0, graph.n_edges);
  tensors.receivers = kept.receivers.narrow(0, 0, graph.n_edges);
  tensors.vectors = kept.vectors.narrow(0, 0, graph.n_edges);
  return tensors;
}

LocalTensors Step::write(size_t p, const partition::Snapshot& snapshot, int n_threads) {
  LocalTensors tensors = dtype_ == at::kFloat ? write_edges<float>(p, snapshot, n_threads)
                                              : write_edges<double>(p, snapshot, n_threads);
  if (decomposition_->has_bonds()) write_bonds(p, tensors.senders.const_data_ptr<int64_t>(), tensors);
  return tensors;
}

void Step::write_bonds(size_t p, const int64_t* senders, LocalTensors& tensors) {
  const auto& graph = graphs_[p];
  LocalTensors& kept = kept_[p];
  tensors.edge_bond = rows_of(kept.edge_bond, graph.n_edges);
  tensors.bond_edge = rows_of(kept.bond_edge, graph.n_bonds);
  tensors.angles = rows_of(kept.angles, graph.n_angles, 2);
  tensors.cut = rows_of(kept.cut, graph.n_cut());
  auto* edge_bond = tensors.edge_bond.mutable_data_ptr<int64_t>();
  partition::write_bonds(
      *decomposition_, static_cast<int32_t>(p), graph, senders,
      {edge_bond, tensors.bond_edge.mutable_data_ptr<int64_t>(), tensors.angles.mutable_data_ptr<int64_t>()});
  const auto* bond_edge = tensors.bond_edge.const_data_ptr<int64_t>();
  const int64_t n_short = graph.short_begin.back();
  const at::Tensor short_bonds = rows_of(kept.short_bonds, n_short);
  auto* begin = short_bonds.mutable_data_ptr<int64_t>();
  auto* end = begin;
  for (int64_t k = 0; k < n_short; ++k) {
    const int32_t edge = graph.short_edge[k];
    if (bond_edge[edge_bond[edge]] == edge) *end++ = edge_bond[edge];
  }
  tensors.short_bonds = short_bonds.narrow(0, 0, end - begin);
  auto* cut = tensors.cut.mutable_data_ptr<int64_t>();
  for (const int32_t edge : graph.cut_edge) *cut++ = edge_bond[edge];
}

exchange::Crossing Step::crossing(at::ScalarType dtype) const {
  const auto here = decomposition_->here;
  return {
      n_owned(), n_bonds(), atoms_, bonds_, dtype, others_ ? others_->ranks : nullptr, here.end - here.begin};
}

template <class Size>
std::vector<int64_t> Step::sizes(Size size) const {
  std::vector<int64_t> all(parts_.size());
  for (size_t p = 0; p < all.size(); ++p) all[p] = size(p);
  return all;
}

std::vector<int64_t> Step::n_owned() const {
  return sizes([&](size_t p) { return decomposition_->parts[p].n_owned(); });
}
std::vector<int64_t> Step::n_edges() const {
  return sizes([&](size_t p) { return graphs_[p].n_edges; });
}
std::vector<int64_t> Step::n_bonds() const {
  return sizes([&](size_t p) { return graphs_[p].n_bonds; });
}
std::vector<int64_t> Step::n_angles() const {
  return sizes([&](size_t p) { return graphs_[p].n_angles; });
}
std::vector<int64_t> Step::n_cut() const {
  return sizes([&](size_t p) { return graphs_[p].n_cut(); });
}
std::vector<int64_t> Step::n_read() const {
  return sizes([&](size_t p) { return atoms_.packed[p].size(0); });
}

}  // namespace distmlip::executor
