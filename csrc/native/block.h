// Some atoms on their way through the operators of a stage that work on single atoms.
#pragma once

#include <cstdint>
#include <vector>

#include "core/buffer.h"
#include "native/layout.h"
#include "native/matrix.h"

namespace distmlip::native {

/// Atoms whose rows go through matrix products together.
constexpr int atoms_per_block = 32;

/// What a stage computes of an atom: the rows of one operator.
struct Register {
  enum class Source { input, senders, constant, computed };
  Layout layout;
  Source source = Source::computed;
  bool is_saved = false;  ///< needed on the way back
};

/// Rows of up to atoms_per_block atoms in every register, and their gradients.
template <class T>
struct Block {
  explicit Block(const std::vector<Register>& registers)
      : values(registers.size()), gradients(registers.size()) {
    for (const Register& of : registers) sizes.push_back(of.layout.size());
  }

  /// Memory of its own comes with the first use: the way forward needs none for gradients.
  T* value(int of, int atom) { return row(values, of, atom); }
  T* gradient(int of, int atom) { return row(gradients, of, atom); }

  /// Where rows are from now on; null: in memory of the block.
  void place_value(size_t of, T* rows) { values[of].elsewhere = rows; }
  void place_gradient(size_t of, T* rows) { gradients[of].elsewhere = rows; }

  /// Chooses atoms by their species.
  void set_atoms(const int32_t* species, int n_atoms, int n_species);

  int n = 0;
  std::vector<int> by_species;  ///< atoms of the block, in the order of their species
  std::vector<int> first_atom;  ///< in by_species, of each species; n at the end
  std::vector<const T*> a;      ///< rows for products
  std::vector<T*> b, c;

 private:
  struct Rows {
    Buffer<T> own;
    T* elsewhere = nullptr;
  };

  T* row(std::vector<Rows>& rows, int of, int atom) {
    const auto index = static_cast<size_t>(of);
    auto& [own, elsewhere] = rows[index];
    if (elsewhere != nullptr) return elsewhere + sizes[index] * atom;
    if (own.empty()) own.resize(static_cast<size_t>(sizes[index] * atoms_per_block) + slack);
    return own.data() + sizes[index] * atom;
  }

  std::vector<int64_t> sizes;
  std::vector<Rows> values, gradients;
};

template <class T>
void Block<T>::set_atoms(const int32_t* species, int n_atoms, int n_species) {
  n = n_atoms;
  by_species.clear();
  first_atom.clear();
  for (int s = 0; s < n_species; ++s) {
    first_atom.push_back(static_cast<int>(by_species.size()));
    for (int atom = 0; atom < n_atoms; ++atom)
      if (species[atom] == s) by_species.push_back(atom);
  }
  first_atom.push_back(n_atoms);
}

/// One operator on single atoms.
template <class T>
class NodeOperator {
 public:
  virtual ~NodeOperator() = default;
  virtual void forward(Block<T>& block) const = 0;
  /// From the gradients of what it computed to those of what it read: adds to them, or, where `accumulate`
  /// says that nothing has been written there yet, writes them.
  virtual void backward(Block<T>& block) const = 0;

  struct Read {
    int of;
    bool accumulate = true;
  };
  std::vector<Read> reads;
  int writes = 0;
};

}  // namespace distmlip::native
