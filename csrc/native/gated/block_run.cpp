#include "native/gated/block_run.h"

#include "kernels/simd.h"
#include "native/gated/matrices.h"

namespace distmlip::native::gated {

std::string numbered(std::string what, int of) { return what.append(" ").append(std::to_string(of)); }

template <class T>
Block<T>::Block(const BlockParameters& parameters)
    : operators(kernels::irreps::operators<T>(kernels::simd())),
      index(parameters.index),
      channels(parameters.channels),
      keeps_atoms(parameters.keeps_atoms),
      keeps_bonds(parameters.keeps_bonds),
      bases(operators, parameters.basis),
      bond_embedding(operators, parameters.basis.bond_embedding),
      short_weights(operators, parameters.basis.short_weights),
      atoms(operators, parameters) {
  if (parameters.basis.bond_embedding.columns != channels)
    invalid("embeddings of ", parameters.basis.bond_embedding.columns, " channels, atoms of ", channels);
  if ((index == 0) != parameters.species.has_value() || (index == 0) == parameters.previous.has_value())
    invalid("the first block has species, later ones have the bonds' update before them");
  if (parameters.species) {
    require(*parameters.species, parameters.species->rows, channels, "species");
    species.assign(parameters.species->values,
                   parameters.species->values + parameters.species->rows * channels);
  }
  if (parameters.previous) require(parameters.previous->out, channels, channels, "update");
  if (parameters.previous) previous.emplace(operators, parameters.previous->out, parameters.previous->bias);
  if (parameters.bonds) bonds.emplace(operators, parameters);
  if (std::ssize(parameters.angles) > index) invalid("more updates of angles than blocks before");
}

template <class T>
BlockRun<T>::BlockRun(std::shared_ptr<const Block<T>> block, const executor::NativeGraph& graph,
                      executor::Tensors inputs, int n_threads)
    : block_(std::move(block)), topology_(graph), vectors_(graph.vectors), inputs_(std::move(inputs)) {
  vectors_of<T>(topology_, vectors_);
  for (auto& [name, tensor] : inputs_) tensor = tensor.contiguous();
  read_basis(n_threads);
  read_atoms(graph);
  update_bonds(n_threads);
  update_atoms(n_threads);
}

template <class T>
at::Tensor BlockRun<T>::input(const std::string& name, int64_t n_rows, int64_t width) const {
  const auto found = inputs_.find(name);
  if (found == inputs_.end()) invalid("there is no '", name, "'");
  const at::Tensor& given = found->second;
  if (given.scalar_type() != vectors_.scalar_type() || !given.device().is_cpu() || given.dim() != 2 ||
      given.size(0) != n_rows || given.size(1) != width)
    invalid("'", name, "' must be (", n_rows, ", ", width, ") in the stage's dtype on the host");
  return given;
}

template <class T>
at::Tensor BlockRun<T>::zeros_like(const at::Tensor& tensor) {
  at::Tensor zeros = exchange::empty(tensor.sizes(), tensor.options());
  std::fill_n(mutable_data(zeros), zeros.numel(), T(0));
  return zeros;
}

template <class T>
at::Tensor BlockRun<T>::copy_of(const at::Tensor& tensor) {
  const at::Tensor from = tensor.contiguous();
  at::Tensor copy = exchange::empty(from.sizes(), from.options());
  std::copy_n(data(from), from.numel(), mutable_data(copy));
  return copy;
}

template <class T>
void BlockRun<T>::read_basis(int n_threads) {
  if (!inputs_.contains("bond_basis")) {
    basis_ = block_->bases.rows(topology_, vectors_, block_->bonds.has_value(), n_threads);
    return;
  }
  basis_.bonds = input("bond_basis", topology_.n_bonds, 2 * block_->bases.of_bonds());
  if (!block_->bonds) return;
  basis_.short_bonds = input("short_basis", topology_.n_short, 2 * block_->bases.of_short_bonds());
  basis_.angles = input("angle_basis", std::ssize(topology_.pairs), 2 * block_->bases.of_angles());
}

template <class T>
void BlockRun<T>::read_atoms(const executor::NativeGraph& graph) {
  const int channels = block_->channels;
  if (block_->index > 0) {
    atoms_ = input("atoms", topology_.n_local, channels);
    return;
  }
  atoms_ = empty(topology_.n_local);
  const int64_t n_species = std::ssize(block_->species) / channels;
  const auto* numbers = graph.numbers.const_data_ptr<int64_t>();
  for (int64_t atom = 0; atom < topology_.n_local; ++atom) {
    if (numbers[atom] < 0 || numbers[atom] >= n_species)
      invalid("atomic number ", numbers[atom], ", for which the stage was not made");
    std::copy_n(block_->species.data() + numbers[atom] * channels, channels, rows(atoms_).at(atom));
  }
}

template <class T>
executor::Tensors BlockRun<T>::needed_again() const {
  const int index = block_->index;
  executor::Tensors needed = inputs_;
  if (index == 0) return needed;
  needed.erase("bond_messages");
  needed.erase("cut_messages");
  const bool reads_earlier = block_->bonds && std::ssize(block_->bonds->layers()) > index - 1;
  if (!reads_earlier) needed.erase(numbered("bonds", index - 1));
  needed[numbered("bonds", index)] = bonds_;
  return needed;
}

template <class T>
void BlockRun<T>::update_bonds(int n_threads) {
  const int channels = block_->channels, index = block_->index;
  if (inputs_.contains(numbered("bonds", index))) {
    bonds_ = input(numbered("bonds", index), topology_.n_short, channels);
    return;
  }
  if (index > 1) {
    bonds_ = input(numbered("bonds", index - 1), topology_.n_short, channels);
  } else {
    bonds_ = empty(topology_.n_short);
    block_->bond_embedding.apply(topology_.n_short, basis(basis_.bonds), rows(bonds_));
  }
  if (index == 0 || !topology_.has_angles) return;
  at::Tensor messages = copy_of(input("bond_messages", topology_.n_short, channels));
  const at::Tensor others = input("cut_messages", std::ssize(topology_.cut), channels);
  for (size_t k = 0; k < topology_.cut.size(); ++k) {
    const T* from = rows(std::as_const(others)).at(static_cast<std::ptrdiff_t>(k));
    T* to = rows(messages).at(topology_.cut[k]);
    for (int c = 0; c < channels; ++c) to[c] += from[c];
  }
  const Buffer<T> update = block_->previous->of(topology_.n_short, rows(std::as_const(messages)), n_threads);
  T* to = mutable_data(messages);
  const T* before = data(bonds_);
  for (int64_t k = 0; k < messages.numel(); ++k) to[k] = before[k] + update[static_cast<size_t>(k)];
  bonds_ = messages;
}

template <class T>
void BlockRun<T>::update_atoms(int n_threads) {
  at::Tensor messages = zeros(topology_.n_owned);
  const EdgeTables tables = edge_tables(n_threads);
  block_->atoms.forward(topology_, tables.view, mutable_data(messages), n_threads);
  next_ = empty(topology_.n_owned);
  block_->atoms.out().apply(topology_.n_owned, rows(std::as_const(messages)), rows(next_));
  T* to = mutable_data(next_);
  const T* before = data(atoms_);
  for (int64_t k = 0; k < next_.numel(); ++k) to[k] += before[k];
}

template <class T>
typename BlockRun<T>::EdgeTables BlockRun<T>::edge_tables(int n_threads) const {
  const AtomMessages<T>& of = block_->atoms;
  EdgeTables tables{of.receivers().of(topology_.n_owned, rows(atoms_), n_threads),
                    of.senders().of(topology_.n_local, rows(atoms_), n_threads),
                    {},
                    {}};
  if (block_->index > 0) tables.bonds = of.bonds().of(topology_.n_short, rows(bonds_), n_threads);
  tables.view = {tables.receivers.data(), tables.senders.data(),
                 block_->index > 0 ? tables.bonds.data() : nullptr, basis(basis_.bonds)};
  return tables;
}

template <class T>
at::Tensor BlockRun<T>::atoms_of(size_t layer) const {
  const size_t n_updates = block_->bonds->layers().size() - 1;
  if (layer == n_updates) return next_;
  if (layer + 1 == static_cast<size_t>(block_->index)) return atoms_;
  return input(name_of("atoms", layer), topology_.n_owned, block_->channels);
}

template <class T>
at::Tensor BlockRun<T>::bonds_of(size_t layer) const {
  const size_t n_updates = block_->bonds->layers().size() - 1;
  if (layer == n_updates || layer + 1 == static_cast<size_t>(block_->index)) return bonds_;
  return input(name_of("bonds", layer), topology_.n_short, block_->channels);
}

template <class T>
typename BlockRun<T>::LayerTables BlockRun<T>::layer_tables(int n_threads) const {
  LayerTables tables;
  const auto& layers = block_->bonds->layers();
  tables.memory.reserve(2 * layers.size() + 1);
  for (size_t k = 0; k < layers.size(); ++k) {
    tables.memory.push_back(layers[k].bonds.of(topology_.n_short, rows(bonds_of(k)), n_threads));
    tables.memory.push_back(layers[k].centres.of(topology_.n_owned, rows(atoms_of(k)), n_threads));
    tables.view.layers.push_back({tables.memory[2 * k].data(), tables.memory[2 * k + 1].data()});
  }
  tables.memory.push_back(block_->short_weights.of(topology_.n_short, basis(basis_.short_bonds), n_threads));
  tables.view.weights = tables.memory.back().data();
  tables.view.basis = basis(basis_.angles);
  return tables;
}

template <class T>
executor::Tensors BlockRun<T>::outputs(int n_threads) const {
  executor::Tensors outputs{{"atoms", next_}};
  if (block_->keeps_atoms) outputs[numbered("atoms", block_->index)] = atoms_.narrow(0, 0, topology_.n_owned);
  if (block_->keeps_bonds) outputs[numbered("bonds", block_->index)] = bonds_;
  if (!block_->bonds) return outputs;
  at::Tensor messages = zeros(topology_.n_short);
  if (sends()) {
    const LayerTables tables = layer_tables(n_threads);
    block_->bonds->forward(topology_, tables.view, mutable_data(messages), n_threads);
  }
  at::Tensor cut = empty(std::ssize(topology_.cut));
  for (size_t k = 0; k < topology_.cut.size(); ++k)
    std::copy_n(rows(messages).at(topology_.cut[k]), block_->channels,
                rows(cut).at(static_cast<std::ptrdiff_t>(k)));
  outputs["bond_messages"] = messages;
  outputs["cut_messages"] = cut;
  return outputs;
}

template struct Block<float>;
template struct Block<double>;
template class BlockRun<float>;
template class BlockRun<double>;

}  // namespace distmlip::native::gated
