// Puts a stage together, operator by operator. Registers are numbered in the order in which they are made.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "native/stage.h"

namespace distmlip::native {

/// Every call throws std::invalid_argument for what does not fit together. Matrices are read in the call.
template <class T>
class StageBuilder {
 public:
  /// With the kernels of the instruction set that is in use now. Harmonics are those of sign · (sender −
  /// receiver).
  StageBuilder(std::vector<int> numbers, int sign, const Cells& cells);

  /// A tensor of the stage before, or, for edges, rows of all local atoms.
  int input(const std::string& name, const Layout& layout, bool of_senders, Order order = Order::channels);
  /// The atoms' own rows of an input of senders.
  int own_rows(int senders);
  /// A row per species, in e3nn's order.
  int constant(const Layout& layout, const Matrix& of_species);

  int tables(const RadialTables& tables);
  int network(RadialNetwork network);

  int convolution(int senders, int radial, const Layout& message, const std::vector<ConvolutionPath>& paths);
  int expansion(int radial, const Layout& message, const std::vector<int>& groups);
  int edge_sum(int radial);
  int scaling(int senders, int radial, const std::vector<int>& groups);
  /// A register with one scalar.
  int repulsion(const Repulsion& repulsion);

  int linear(int from, const Layout& layout, const std::vector<LinearMap>& maps);
  /// Adds to a register that exists.
  void add_linear(int from, int to, const std::vector<LinearMap>& maps);
  int contraction(int from, const Layout& layout, const std::vector<int>& outputs,
                  const std::vector<std::vector<int>>& inputs, const std::vector<Matrix>& coefficients);
  int gate(int from, const Layout& layout, const std::vector<Gated>& segments);
  int normalised(int from, int density);
  int layer_norm(int from, const std::vector<double>& scales, const std::vector<double>& shifts,
                 double epsilon);
  using TensorFunction = kernels::irreps::TensorFunction<T> Operators<T>::*;
  using TensorFunction2 = kernels::irreps::TensorFunction2<T> Operators<T>::*;
  /// Of one register of tensors, or of two; `layout`: of the result.
  int of_tensors(TensorFunction function, int from, const Layout& layout);
  int of_tensors(TensorFunction2 function, int first, int second);

  void output(Output output);
  void constant_output(const std::string& name, std::vector<double> of_species);
  void edge_count_output(const std::string& name);

  /// Ends the building.
  std::shared_ptr<executor::NativeStage> stage();

 private:
  int add(Layout layout, Register::Source source = Register::Source::computed);
  Register& at(int of);
  /// One that holds rows of the atoms themselves.
  Register& of_atoms(int of);
  const Radial<T>& radial(int index) const;
  int add(std::unique_ptr<EdgeOperator<T>> edge, int writes, int senders, int of_radial);

  Program<T> program_;
};

}  // namespace distmlip::native
