#include "native/stage_builder.h"

#include <utility>

#include "core/error.h"

namespace distmlip::native {
namespace {

/// Stages have a species for each number up to their largest one.
constexpr int largest_number = 1 << 16;

}  // namespace

template <class T>
StageBuilder<T>::StageBuilder(std::vector<int> numbers, int sign, const Cells& cells) {
  if (numbers.empty()) invalid("a stage for no elements");
  if (sign != 1 && sign != -1) invalid("sign is ", sign, "; it must be 1 or -1");
  for (const int number : numbers)
    if (number < 0 || number > largest_number)
      invalid("atomic number ", number, " of a stage; 0 to ", largest_number, " are possible");
  program_.operators = &kernels::irreps::operators<T>(kernels::simd());
  program_.numbers = std::move(numbers);
  program_.sign = static_cast<T>(sign);
  program_.cells = cells;
}

template <class T>
int StageBuilder<T>::add(Layout layout, Register::Source source) {
  program_.registers.push_back({std::move(layout), source, false});
  program_.constants.emplace_back();
  return static_cast<int>(program_.registers.size()) - 1;
}

template <class T>
Register& StageBuilder<T>::at(int of) {
  if (of < 0 || static_cast<size_t>(of) >= program_.registers.size())
    invalid("register ", of, " of ", program_.registers.size());
  return program_.registers[static_cast<size_t>(of)];
}

template <class T>
Register& StageBuilder<T>::of_atoms(int of) {
  if (at(of).source == Register::Source::senders)
    invalid("register ", of, " has rows of senders, which only edges read");
  return at(of);
}

template <class T>
const Radial<T>& StageBuilder<T>::radial(int index) const {
  if (index < 0 || static_cast<size_t>(index) >= program_.radials.size())
    invalid("radial functions ", index, " of ", program_.radials.size());
  return *program_.radials[static_cast<size_t>(index)];
}

template <class T>
int StageBuilder<T>::input(const std::string& name, const Layout& layout, bool of_senders, Order order) {
  const int of = add(layout, of_senders ? Register::Source::senders : Register::Source::input);
  program_.inputs.push_back({name, of, of_senders, order});
  return of;
}

template <class T>
int StageBuilder<T>::own_rows(int senders) {
  for (size_t k = 0; k < program_.inputs.size(); ++k) {
    const Input sent = program_.inputs[k];
    if (sent.of != senders || !sent.of_senders) continue;
    const int of = add(at(senders).layout, Register::Source::input);
    program_.inputs.push_back({sent.name, of, false, sent.order, static_cast<int>(k)});
    return of;
  }
  invalid("register ", senders, " is no input of senders");
}

template <class T>
int StageBuilder<T>::constant(const Layout& layout, const Matrix& of_species) {
  if (of_species.rows != program_.n_species() || of_species.columns != layout.width())
    invalid("a constant (", of_species.rows, ", ", of_species.columns, "); it must be (",
            program_.n_species(), ", ", layout.width(), ")");
  const int of = add(layout, Register::Source::constant);
  Buffer<T>& rows = program_.constants.back();
  rows.resize(static_cast<size_t>(layout.size() * of_species.rows) + slack);
  for (int s = 0; s < of_species.rows; ++s)
    layout.read(of_species.values + s * layout.width(), rows.data() + s * layout.size());
  return of;
}

template <class T>
int StageBuilder<T>::tables(const RadialTables& tables) {
  const auto n_pairs = static_cast<size_t>(program_.n_species() * program_.n_species());
  if (tables.of_pair.size() != 1 && tables.of_pair.size() != n_pairs)
    invalid("tables of ", tables.of_pair.size(), " species pairs; there are ", n_pairs);
  program_.radials.push_back(std::make_unique<Radial<T>>(*program_.operators, program_.cells, tables));
  program_.has_tables = true;
  return static_cast<int>(program_.radials.size()) - 1;
}

template <class T>
int StageBuilder<T>::network(RadialNetwork network) {
  const auto& transform = network.basis.transform;
  const auto n_pairs = static_cast<size_t>(program_.n_species() * program_.n_species());
  if (transform && transform->radii.size() != n_pairs)
    invalid(transform->radii.size(), " radii of species pairs; there are ", n_pairs);
  program_.radials.push_back(std::make_unique<Radial<T>>(*program_.operators, std::move(network)));
  return static_cast<int>(program_.radials.size()) - 1;
}

template <class T>
int StageBuilder<T>::add(std::unique_ptr<EdgeOperator<T>> edge, int writes, int senders, int of_radial) {
  edge->writes = writes;
  edge->reads = senders;
  edge->functions = of_radial;
  program_.edge_operators.push_back(std::move(edge));
  return writes;
}

template <class T>
int StageBuilder<T>::convolution(int senders, int of_radial, const Layout& message,
                                 const std::vector<ConvolutionPath>& paths) {
  const Register& from = at(senders);
  if (from.source != Register::Source::senders && from.source != Register::Source::constant)
    invalid("register ", senders, " has no rows of senders");
  auto edge = native::convolution(*program_.operators, from.layout, message, radial(of_radial), paths);
  return add(std::move(edge), add(message), senders, of_radial);
}

template <class T>
int StageBuilder<T>::expansion(int of_radial, const Layout& message, const std::vector<int>& groups) {
  auto edge =
      native::expansion(*program_.operators, program_.n_species(), message, radial(of_radial), groups);
  return add(std::move(edge), add(message), -1, of_radial);
}

template <class T>
int StageBuilder<T>::edge_sum(int of_radial) {
  auto edge = native::edge_sum(radial(of_radial));
  return add(std::move(edge), add(Layout({{0, radial(of_radial).columns(0)}})), -1, of_radial);
}

template <class T>
int StageBuilder<T>::scaling(int senders, int of_radial, const std::vector<int>& groups) {
  const Register& from = at(senders);
  if (from.source != Register::Source::senders) invalid("register ", senders, " has no rows of senders");
  const Layout layout = from.layout;
  auto edge = native::scaling(*program_.operators, layout, radial(of_radial), groups);
  return add(std::move(edge), add(layout), senders, of_radial);
}

template <class T>
int StageBuilder<T>::repulsion(const Repulsion& repulsion) {
  if (repulsion.charges.size() != static_cast<size_t>(program_.n_species() * program_.n_species()))
    invalid("a repulsion of ", repulsion.charges.size(), " species pairs");
  auto edge = native::repulsion<T>(repulsion);
  return add(std::move(edge), add(Layout({{0, 1}})), -1, -1);
}

template <class T>
int StageBuilder<T>::linear(int from, const Layout& layout, const std::vector<LinearMap>& maps) {
  of_atoms(from);
  const int to = add(layout);
  program_.node_operators.push_back(
      native::linear(*program_.operators, program_.registers, from, to, false, program_.n_species(), maps));
  return to;
}

template <class T>
void StageBuilder<T>::add_linear(int from, int to, const std::vector<LinearMap>& maps) {
  of_atoms(from);
  if (at(to).source != Register::Source::computed) invalid("register ", to, " cannot be added to");
  program_.node_operators.push_back(
      native::linear(*program_.operators, program_.registers, from, to, true, program_.n_species(), maps));
}

template <class T>
int StageBuilder<T>::contraction(int from, const Layout& layout, const std::vector<int>& outputs,
                                 const std::vector<std::vector<int>>& inputs,
                                 const std::vector<Matrix>& coefficients) {
  int n_outputs = 0, n_inputs = 0;
  for (const Segment& segment : layout.segments()) n_outputs += segment.rows();
  for (const Segment& segment : of_atoms(from).layout.segments()) n_inputs += segment.rows();
  if (coefficients.size() != program_.numbers.size())
    invalid("coefficients of ", coefficients.size(), " species; there are ", program_.numbers.size());
  auto lists = monomial_lists(outputs, inputs, n_outputs, n_inputs);
  at(from).is_saved = true;
  const int to = add(layout);
  program_.node_operators.push_back(
      native::contraction(*program_.operators, program_.registers, from, to, std::move(lists), coefficients));
  return to;
}

template <class T>
int StageBuilder<T>::gate(int from, const Layout& layout, const std::vector<Gated>& segments) {
  of_atoms(from).is_saved = true;
  const int to = add(layout);
  program_.node_operators.push_back(
      native::gate(*program_.operators, program_.registers, from, to, segments));
  return to;
}

template <class T>
int StageBuilder<T>::normalised(int from, int density) {
  of_atoms(density).is_saved = true;
  const int to = add(of_atoms(from).layout);
  at(to).is_saved = true;
  program_.node_operators.push_back(native::normalised<T>(program_.registers, from, density, to));
  return to;
}

template <class T>
int StageBuilder<T>::layer_norm(int from, const std::vector<double>& scales,
                                const std::vector<double>& shifts, double epsilon) {
  of_atoms(from).is_saved = true;
  const int to = add(at(from).layout);
  program_.node_operators.push_back(
      native::layer_norm<T>(program_.registers, from, to, scales, shifts, epsilon));
  return to;
}

template <class T>
int StageBuilder<T>::of_tensors(TensorFunction function, int from, const Layout& layout) {
  const auto& of = program_.operators->*function;
  Register& read = of_atoms(from);
  read.is_saved = read.is_saved || of.reads_back;
  const int to = add(layout);
  program_.node_operators.push_back(native::of_tensors(of, program_.registers, from, to));
  return to;
}

template <class T>
int StageBuilder<T>::of_tensors(TensorFunction2 function, int first, int second) {
  const auto& of = program_.operators->*function;
  Register& read = of_atoms(first);
  read.is_saved = read.is_saved || of.reads_first_back;
  of_atoms(second).is_saved = true;
  const int to = add(of_atoms(first).layout);
  program_.node_operators.push_back(native::of_tensors(of, program_.registers, first, second, to));
  return to;
}

template <class T>
void StageBuilder<T>::output(Output output) {
  const Register& of = of_atoms(output.of);
  if ((output.in_float64 || output.is_flat) && of.layout.width() != 1)
    invalid("output '", output.name, "' is no scalar");
  for (const Output& other : program_.outputs)
    if (other.of == output.of) invalid("register ", output.of, " is two outputs");
  program_.outputs.push_back(std::move(output));
}

template <class T>
void StageBuilder<T>::constant_output(const std::string& name, std::vector<double> of_species) {
  if (of_species.size() != program_.numbers.size())
    invalid("output '", name, "' has ", of_species.size(), " numbers for ", program_.numbers.size(),
            " species");
  program_.constant_outputs.push_back({name, std::move(of_species)});
}

template <class T>
void StageBuilder<T>::edge_count_output(const std::string& name) {
  program_.edge_counts.push_back(name);
}

template <class T>
std::shared_ptr<executor::NativeStage> StageBuilder<T>::stage() {
  if (program_.outputs.empty()) invalid("a stage without outputs, or one that was taken already");
  return std::make_shared<Stage<T>>(std::exchange(program_, Program<T>{}));
}

template class StageBuilder<float>;
template class StageBuilder<double>;

}  // namespace distmlip::native
