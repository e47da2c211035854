// What a stage computes: registers, and operators in the order in which they run.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "native/edge_operators.h"
#include "native/node_operators.h"

namespace distmlip::native {

struct Input {
  std::string name;
  int of;           ///< register
  bool of_senders;  ///< (n_local, width) instead of (n_owned, width)
  Order order = Order::channels;
  int shares = -1;  ///< the input of senders whose first n_owned rows these are; -1: a tensor of its own
};

/// An output (n_owned, width), or (n_owned,) where the width is one: factor · row + shift.
struct Output {
  std::string name;
  int of;
  bool in_float64 = false, is_flat = false;
  double factor = 1, shift = 0;
  Order order = Order::channels;
};

/// An output (n_owned,) in float64 that is one number per species.
struct Constant {
  std::string name;
  std::vector<double> of_species;
};

/// Immutable once it is in a stage.
template <class T>
struct Program {
  const Operators<T>* operators = nullptr;
  std::vector<int> numbers;  ///< atomic numbers of the species
  T sign = 1;                ///< harmonics are those of sign · (sender − receiver)
  Cells cells;               ///< of all tables
  bool has_tables = false;
  std::vector<Register> registers;
  std::vector<Buffer<T>> constants;  ///< of each register: [species][size]; empty unless it is one
  std::vector<std::unique_ptr<Radial<T>>> radials;
  std::vector<std::unique_ptr<EdgeOperator<T>>> edge_operators;
  std::vector<std::unique_ptr<NodeOperator<T>>> node_operators;
  std::vector<Input> inputs;
  std::vector<Output> outputs;
  std::vector<Constant> constant_outputs;
  std::vector<std::string> edge_counts;  ///< names of outputs (): int64 numbers of edges

  /// Whether a register's rows are kept for the way back: those of inputs are there anyway.
  bool keeps(size_t of) const {
    return registers[of].is_saved && registers[of].source != Register::Source::input;
  }
  /// Whether the way back reads nothing of the way forward: only then inputs need not stay.
  bool keeps_nothing() const;
  int n_species() const { return static_cast<int>(numbers.size()); }

  /// Fills what follows, now that all operators are known. Throws std::invalid_argument if what edges give,
  /// or an input, is read by nothing.
  void finish();
  std::vector<bool> is_read;       ///< registers that operators on atoms or outputs read
  std::vector<bool> leads_back;    ///< operators between outputs and what depends on vectors or inputs
  std::vector<bool> has_gradient;  ///< registers
  bool back_by_sender = false;     ///< as its operators on edges
  bool reads_harmonics = false;    ///< some of them

 private:
  void agree_on_edges();
  void require_all_read() const;
};

}  // namespace distmlip::native
