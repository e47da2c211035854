// What a stage does with the rows of single atoms.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "native/block.h"

namespace distmlip::native {

/// Weights from one segment to another: one matrix (channels in, channels out) for all species, or one each.
struct LinearMap {
  int from, to;
  std::vector<Matrix> weights;
};

template <class T>
std::unique_ptr<NodeOperator<T>> linear(const Operators<T>& operators, const std::vector<Register>& registers,
                                        int from, int to, bool adds, int n_species,
                                        const std::vector<LinearMap>& maps);

/// Lists of kernels::Monomials that own their memory.
struct MonomialLists {
  std::vector<int32_t> n_firsts;
  std::vector<kernels::Monomials::First> firsts;
  std::vector<kernels::Monomials::Pair> pairs;
  std::vector<int16_t> triples;
  int n_coefficients = 0, n_inputs = 0;
};

/// Monomials (outputs[k] of inputs (i), (i, j) or (i, j, k), ascending), in the order of their coefficients.
/// Throws std::invalid_argument if they are in another order, or of a higher degree.
MonomialLists monomial_lists(const std::vector<int>& outputs, const std::vector<std::vector<int>>& inputs,
                             int n_outputs, int n_inputs);

/// `coefficients[species]`: (n_coefficients, channels). All segments have the same number of channels.
template <class T>
std::unique_ptr<NodeOperator<T>> contraction(const Operators<T>& operators,
                                             const std::vector<Register>& registers, int from, int to,
                                             MonomialLists lists, const std::vector<Matrix>& coefficients);

enum class Activation { none, silu, tanh, sigmoid };

/// A segment of scalars through an activation, or another one times activated scalars.
struct Gated {
  int from, to;
  int gate;  ///< the segment of scalars, one per channel; -1: `from` itself is activated
  Activation activation;
  double factor;  ///< of the activation
};

template <class T>
std::unique_ptr<NodeOperator<T>> gate(const Operators<T>& operators, const std::vector<Register>& registers,
                                      int from, int to, const std::vector<Gated>& segments);

/// A function of tensors of rank two (kernels/tensor_functions.h), of one register or two.
template <class T>
std::unique_ptr<NodeOperator<T>> of_tensors(const kernels::irreps::TensorFunction<T>& function,
                                            const std::vector<Register>& registers, int from, int to);
template <class T>
std::unique_ptr<NodeOperator<T>> of_tensors(const kernels::irreps::TensorFunction2<T>& function,
                                            const std::vector<Register>& registers, int first, int second,
                                            int to);

/// What is left of all numbers of a row, which are scalars, without their mean and over the root of their
/// variance plus epsilon; times `scales`, plus `shifts`, one of each number.
template <class T>
std::unique_ptr<NodeOperator<T>> layer_norm(const std::vector<Register>& registers, int from, int to,
                                            const std::vector<double>& scales,
                                            const std::vector<double>& shifts, double epsilon);

/// to = from / (1 + density): a register with one scalar.
template <class T>
std::unique_ptr<NodeOperator<T>> normalised(const std::vector<Register>& registers, int from, int density,
                                            int to);

}  // namespace distmlip::native
