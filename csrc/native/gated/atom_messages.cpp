#include "native/gated/atom_messages.h"

#include <array>

#include "native/gated/matrices.h"

namespace distmlip::native::gated {

/// What there is to do on a partition.
template <class T>
struct AtomMessages<T>::Work {
  const Topology& topology;
  const AtomTables<T>& tables;
  const AtomGradients<T>* gradients;  ///< null: the way forward
  std::vector<Table<T>> of_owned, of_local;
  int64_t n_chunks;
};

/// Of one thread.
template <class T>
struct AtomMessages<T>::Memory {
  Memory(const AtomMessages& of) : perceptron(of.perceptron_.memory()), width(of.sums_ + of.channels_) {
    for (Buffer<T>* buffer : {&projected, &tangents, &bond_gradients})
      buffer->resize(static_cast<size_t>(items_per_block * width + slack));
  }
  typename Perceptron<T>::Memory perceptron;
  int width;
  Buffer<T> projected, tangents, bond_gradients;  ///< of each bond: [sums, weights]
  Share<T> owned, local;
  std::array<int, rows_per_block> bond_of_row;
  std::array<const T*, 3 * rows_per_block> sources;
  std::array<const T*, 2 * rows_per_block> weights;
  std::array<const T*, rows_per_block> given;
  std::array<T*, 3 * rows_per_block> targets;
  std::array<T*, 2 * rows_per_block> weight_gradients;
};

template <class T>
AtomMessages<T>::AtomMessages(const Operators<T>& operators, const BlockParameters& parameters)
    : operators_(operators),
      channels_(parameters.channels),
      sums_(parameters.atoms.receivers.columns),
      receivers_(operators, parameters.atoms.receivers, parameters.atoms.bias),
      senders_(operators, parameters.atoms.senders),
      bonds_(operators, parameters.atoms.bonds),
      out_(operators, parameters.atoms.out, parameters.atoms.out_bias),
      perceptron_(operators, parameters.atoms.perceptron, channels_, sums_) {
  for (const auto& [matrix, name] : {std::pair(&parameters.atoms.receivers, "receivers"),
                                     {&parameters.atoms.senders, "senders"},
                                     {&parameters.atoms.bonds, "bonds"}})
    require(*matrix, channels_, sums_, name);
  require(parameters.atoms.out, channels_, channels_, "out");
  const BasisParameters& basis = parameters.basis;
  const OwnMatrix sums = product(basis.bond_embedding, parameters.atoms.bonds);
  of_basis_ = Projection<T>(operators, side_by_side(sums.view(), basis.bond_weights).view());
  weights_ = Projection<T>(operators, basis.bond_weights);
  if (parameters.embedding_shift.empty()) return;
  const auto width = static_cast<int>(parameters.embedding_shift.size());
  const OwnMatrix shift = product({parameters.embedding_shift.data(), 1, width}, parameters.atoms.bonds);
  shift_.assign(shift.values.begin(), shift.values.end());
}

template <class T>
void AtomMessages<T>::forward(const Topology& topology, const AtomTables<T>& tables, T* messages,
                              int n_threads) const {
  Work work{topology, tables, nullptr, {{messages, channels_}}, {}, chunks_of(topology.n_owned)};
  run(work, n_threads);
}

template <class T>
void AtomMessages<T>::backward(const Topology& topology, const AtomTables<T>& tables,
                               const AtomGradients<T>& gradients, int n_threads) const {
  Work work{topology, tables, &gradients, {}, {}, chunks_of(topology.n_owned)};
  if (gradients.receivers != nullptr) {
    work.of_owned = {{gradients.receivers, sums_}};
    work.of_local = {{gradients.senders, sums_}};
  }
  run(work, n_threads);
}

template <class T>
void AtomMessages<T>::run(Work& work, int n_threads) const {
  std::vector<Memory> memories(static_cast<size_t>(std::min(work.n_chunks, chunks_at_a_time)), Memory(*this));
  in_chunks(
      work.n_chunks, n_threads, [&](int64_t k, size_t slot) { chunk(work, k, memories[slot]); },
      [&](size_t slot) {
        memories[slot].owned.add_to(work.of_owned);
        memories[slot].local.add_to(work.of_local);
      });
}

template <class T>
void AtomMessages<T>::chunk(Work& work, int64_t chunk, Memory& memory) const {
  const Topology& topology = work.topology;
  const int64_t n_updated = work.tables.bonds == nullptr ? 0 : topology.n_short;
  const Stretch updated = stretch_of(chunk, work.n_chunks, n_updated);
  const Stretch others = stretch_of(chunk, work.n_chunks, topology.n_bonds - n_updated);
  const Stretch both[] = {updated, {n_updated + others.first, n_updated + others.last}};
  memory.owned.open(topology.n_owned);
  memory.local.open(topology.n_local);
  for (const auto& [first, last] : both) {
    for (int32_t row = topology.first_row[static_cast<size_t>(first)];
         row < topology.first_row[static_cast<size_t>(last)]; ++row) {
      if (!work.of_owned.empty()) memory.owned.touch(topology.receivers[static_cast<size_t>(row)]);
      if (!work.of_local.empty()) memory.local.touch(topology.senders[static_cast<size_t>(row)]);
    }
  }
  memory.owned.clear(work.of_owned);
  memory.local.clear(work.of_local);
  for (int part = 0; part < 2; ++part)
    for (int64_t bond = both[part].first; bond < both[part].last; bond += items_per_block)
      block(work, memory, bond, std::min(both[part].last, bond + items_per_block), part == 0);
}

template <class T>
void AtomMessages<T>::block(Work& work, Memory& memory, int64_t first, int64_t last, bool is_updated) const {
  const bool forward = work.gradients == nullptr;
  project(work, memory, first, static_cast<int>(last - first), is_updated);
  gather(work, memory, first, last, is_updated);
  const Topology& topology = work.topology;
  const int32_t first_row = topology.first_row[static_cast<size_t>(first)];
  const int n = topology.first_row[static_cast<size_t>(last)] - first_row;
  perceptron_.forward(n, 3, memory.sources.data(), memory.perceptron, !forward);
  if (!forward) return back(work, memory, first, last, is_updated);
  std::array<T*, rows_per_block> out;
  for (size_t row = 0; row < static_cast<size_t>(n); ++row)
    out[row] = memory.owned.row(work.of_owned, 0, topology.receivers[static_cast<size_t>(first_row) + row]);
  operators_.gated.weigh(n, channels_, memory.perceptron.out.data(), memory.weights.data(), out.data());
}

/// What bonds' basis gives.
template <class T>
void AtomMessages<T>::project(const Work& work, Memory& memory, int64_t first, int n_bonds,
                              bool is_updated) const {
  const Projection<T>& projection = is_updated ? weights_ : of_basis_;
  const int at = is_updated ? sums_ : 0;
  const Rows<const T> basis{work.tables.basis.at(first), work.tables.basis.stride};
  T* to = memory.projected.data();
  const bool shifts = !is_updated && !shift_.empty() && work.topology.has_angles;
  if (shifts)
    for (int bond = 0; bond < n_bonds; ++bond)
      std::fill_n(std::copy(shift_.begin(), shift_.end(), to + bond * memory.width), channels_, T(0));
  projection.apply(n_bonds, basis, {to + at, memory.width}, shifts);
  if (work.gradients == nullptr) return;
  projection.apply(n_bonds, {basis.data + basis.stride / 2, basis.stride},
                   {memory.tangents.data() + at, memory.width});
}

template <class T>
void AtomMessages<T>::gather(const Work& work, Memory& memory, int64_t first, int64_t last,
                             bool is_updated) const {
  const Topology& topology = work.topology;
  size_t row = 0;
  for (int64_t bond = first; bond < last; ++bond) {
    const T* projected = memory.projected.data() + (bond - first) * memory.width;
    const T* of_bond = is_updated ? work.tables.bonds + bond * sums_ : projected;
    for (auto r = static_cast<size_t>(topology.first_row[static_cast<size_t>(bond)]);
         r < static_cast<size_t>(topology.first_row[static_cast<size_t>(bond) + 1]); ++r, ++row) {
      memory.bond_of_row[row] = static_cast<int>(bond - first);
      memory.sources[3 * row] = work.tables.receivers + static_cast<int64_t>(topology.receivers[r]) * sums_;
      memory.sources[3 * row + 1] = work.tables.senders + static_cast<int64_t>(topology.senders[r]) * sums_;
      memory.sources[3 * row + 2] = of_bond;
      memory.weights[2 * row] = projected + sums_;
      memory.weights[2 * row + 1] = nullptr;
    }
  }
}

template <class T>
void AtomMessages<T>::back(Work& work, Memory& memory, int64_t first, int64_t last, bool is_updated) const {
  const Topology& topology = work.topology;
  const AtomGradients<T>& gradients = *work.gradients;
  const int32_t first_row = topology.first_row[static_cast<size_t>(first)];
  const int n = topology.first_row[static_cast<size_t>(last)] - first_row;
  const auto n_bonds = static_cast<int>(last - first);
  std::fill_n(memory.bond_gradients.data(), n_bonds * memory.width, T(0));
  if (is_updated) std::fill_n(gradients.bonds + first * sums_, n_bonds * sums_, T(0));
  const int n_targets = work.of_owned.empty() ? 1 : 3;
  for (size_t row = 0; row < static_cast<size_t>(n); ++row) {
    const int32_t receiver = topology.receivers[static_cast<size_t>(first_row) + row];
    T* of_bond = memory.bond_gradients.data() + memory.bond_of_row[row] * memory.width;
    memory.given[row] = gradients.messages + static_cast<int64_t>(receiver) * channels_;
    memory.weight_gradients[2 * row] = of_bond + sums_;
    T** targets = memory.targets.data() + static_cast<size_t>(n_targets) * row;
    targets[0] = is_updated ? gradients.bonds + (first + memory.bond_of_row[row]) * sums_ : of_bond;
    if (n_targets == 1) continue;
    targets[1] = memory.owned.row(work.of_owned, 0, receiver);
    targets[2] = memory.local.row(work.of_local, 0, topology.senders[static_cast<size_t>(first_row) + row]);
  }
  T* messages = memory.perceptron.out.data();
  operators_.gated.weigh_back(n, channels_, messages, memory.given.data(), memory.weights.data(),
                              memory.weight_gradients.data());
  perceptron_.backward(n, messages, n_targets, memory.targets.data(), memory.perceptron);
  const int at = is_updated ? sums_ : 0;
  operators_.gated.add_dots(n_bonds, memory.width - at, memory.bond_gradients.data() + at, memory.width,
                            memory.tangents.data() + at, memory.width, gradients.by_length + first);
}

template class AtomMessages<float>;
template class AtomMessages<double>;

}  // namespace distmlip::native::gated
