// The way back through a block.
#include "native/gated/block_run.h"

namespace distmlip::native::gated {

namespace {

/// Zeros, as many as there are.
template <class T>
Buffer<T> zeroed(const Buffer<T>& like) {
  Buffer<T> buffer(like.size());
  std::fill(buffer.begin(), buffer.end(), T(0));
  return buffer;
}

}  // namespace

template <class T>
struct BlockRun<T>::Gradients {
  executor::Tensors inputs;
  at::Tensor next, bonds;  ///< of what was updated
  Buffer<T> by_length, by_angle;

  /// That of an input, zero at first.
  at::Tensor& of(const std::string& name, const at::Tensor& like) {
    at::Tensor& gradient = inputs[name];
    if (!gradient.defined()) gradient = zeros_like(like);
    return gradient;
  }
};

template <class T>
at::Tensor BlockRun<T>::given(const executor::Tensors& gradients, const std::string& name,
                              int64_t n_rows) const {
  const auto found = gradients.find(name);
  if (found == gradients.end() || !found->second.defined()) return {};
  const at::Tensor& gradient = found->second;
  if (gradient.scalar_type() != vectors_.scalar_type() || !gradient.device().is_cpu() ||
      gradient.numel() != n_rows * block_->channels)
    invalid("the gradient of '", name, "' must have its shape and dtype, on the host");
  return gradient;
}

template <class T>
executor::Gradients BlockRun<T>::backward(const executor::Tensors& gradients, int n_threads) const {
  Gradients to;
  const at::Tensor of_next = given(gradients, "atoms", topology_.n_owned);
  to.next = of_next.defined() ? copy_of(of_next) : zeros(topology_.n_owned);
  const at::Tensor of_bonds = given(gradients, numbered("bonds", block_->index), topology_.n_short);
  to.bonds = of_bonds.defined() ? copy_of(of_bonds) : zeros(topology_.n_short);
  to.by_length.resize(static_cast<size_t>(topology_.n_bonds));
  std::fill(to.by_length.begin(), to.by_length.end(), T(0));
  messages_back(gradients, to, n_threads);
  atoms_back(to, n_threads);
  const at::Tensor of_atoms = given(gradients, numbered("atoms", block_->index), topology_.n_owned);
  if (of_atoms.defined()) exchange::add(of_atoms.contiguous(), to.of("atoms", atoms_));
  bonds_back(to);
  return {std::move(to.inputs),
          block_->bases.vector_gradients(topology_, vectors_, to.by_length.data(),
                                         to.by_angle.empty() ? nullptr : to.by_angle.data())};
}

template <class T>
void BlockRun<T>::messages_back(const executor::Tensors& gradients, Gradients& to, int n_threads) const {
  const at::Tensor own = given(gradients, "bond_messages", topology_.n_short);
  const at::Tensor others = given(gradients, "cut_messages", std::ssize(topology_.cut));
  if (!sends() || (!own.defined() && !others.defined())) return;
  at::Tensor messages = own.defined() ? copy_of(own) : zeros(topology_.n_short);
  if (others.defined()) {
    const at::Tensor cut = others.contiguous();
    for (size_t k = 0; k < topology_.cut.size(); ++k)
      for (int c = 0; c < block_->channels; ++c)
        rows(messages).at(topology_.cut[k])[c] += rows(cut).at(static_cast<std::ptrdiff_t>(k))[c];
  }
  const LayerTables tables = layer_tables(n_threads);
  const auto& layers = block_->bonds->layers();
  std::vector<Buffer<T>> memory;
  memory.reserve(tables.memory.size());
  for (const Buffer<T>& table : tables.memory) memory.push_back(zeroed(table));
  to.by_angle.resize(topology_.pairs.size() + 1);
  AngleGradients<T> inside{data(messages), {}, memory.back().data(), to.by_angle.data()};
  for (size_t k = 0; k < layers.size(); ++k)
    inside.layers.push_back({memory[2 * k].data(), memory[2 * k + 1].data()});
  block_->bonds->backward(topology_, tables.view, inside, n_threads);
  add_tangent_dots(block_->short_weights, basis_.short_bonds, inside.weights, to.by_length.data());
  for (size_t k = 0; k < layers.size(); ++k) {
    const at::Tensor atoms = atoms_of(k), bonds = bonds_of(k);
    at::Tensor& of_atoms = atoms.is_same(next_)    ? to.next
                           : atoms.is_same(atoms_) ? to.of("atoms", atoms_)
                                                   : to.of(name_of("atoms", k), atoms);
    at::Tensor& of_bonds = bonds.is_same(bonds_) ? to.bonds : to.of(name_of("bonds", k), bonds);
    layers[k].bonds.back_of(topology_.n_short, memory[2 * k], mutable_data(of_bonds), n_threads);
    layers[k].centres.back_of(topology_.n_owned, memory[2 * k + 1], mutable_data(of_atoms), n_threads);
  }
}

template <class T>
void BlockRun<T>::atoms_back(Gradients& to, int n_threads) const {
  const AtomMessages<T>& of = block_->atoms;
  const bool first = block_->index == 0;
  at::Tensor messages = zeros(topology_.n_owned);
  of.out().back(topology_.n_owned, rows(std::as_const(to.next)), rows(messages), false);
  const EdgeTables tables = edge_tables(n_threads);
  Buffer<T> receivers, senders, bonds(tables.bonds.size());
  if (!first) {
    receivers = zeroed(tables.receivers);
    senders = zeroed(tables.senders);
  }
  of.backward(topology_, tables.view,
              {data(messages), first ? nullptr : receivers.data(), first ? nullptr : senders.data(),
               first ? nullptr : bonds.data(), to.by_length.data()},
              n_threads);
  if (first) return;  // species have no gradients
  at::Tensor& of_atoms = to.of("atoms", atoms_);
  of.receivers().back_of(topology_.n_owned, receivers, mutable_data(of_atoms), n_threads);
  of.senders().back_of(topology_.n_local, senders, mutable_data(of_atoms), n_threads);
  of.bonds().back_of(topology_.n_short, bonds, mutable_data(to.bonds), n_threads);
  exchange::add(to.next, of_atoms);
}

/// Through the bonds' update.
template <class T>
void BlockRun<T>::bonds_back(Gradients& to) const {
  const int index = block_->index;
  if (index > 0 && topology_.has_angles) {
    at::Tensor messages = zeros(topology_.n_short);
    block_->previous->back(topology_.n_short, rows(std::as_const(to.bonds)), rows(messages), false);
    at::Tensor cut = zeros(std::ssize(topology_.cut));
    for (size_t k = 0; k < topology_.cut.size(); ++k)
      std::copy_n(rows(messages).at(topology_.cut[k]), block_->channels,
                  rows(cut).at(static_cast<std::ptrdiff_t>(k)));
    to.inputs["bond_messages"] = messages;
    to.inputs["cut_messages"] = cut;
  }
  if (index > 1) {
    const std::string name = numbered("bonds", index - 1);
    exchange::add(to.bonds, to.of(name, to.bonds));
  } else {
    add_tangent_dots(block_->bond_embedding, basis_.bonds, data(to.bonds), to.by_length.data());
  }
}

/// Adds gradients (n_short, outputs) of what was projected of the basis to those of lengths.
template <class T>
void BlockRun<T>::add_tangent_dots(const Projection<T>& projection, const at::Tensor& basis_rows,
                                   const T* gradients, T* by_length) const {
  const int width = projection.outputs();
  const Rows<const T> derivatives{data(basis_rows) + basis_rows.size(1) / 2, basis_rows.size(1)};
  Buffer<T> tangents(static_cast<size_t>(rows_per_block * width + slack));
  for (int64_t first = 0; first < topology_.n_short; first += rows_per_block) {
    const auto n = static_cast<int>(std::min<int64_t>(rows_per_block, topology_.n_short - first));
    projection.apply(n, {derivatives.at(first), derivatives.stride}, {tangents.data(), width});
    block_->operators.gated.add_dots(n, width, gradients + first * width, width, tangents.data(), width,
                                     by_length + first);
  }
}

template executor::Gradients BlockRun<float>::backward(const executor::Tensors&, int) const;
template executor::Gradients BlockRun<double>::backward(const executor::Tensors&, int) const;

}  // namespace distmlip::native::gated
