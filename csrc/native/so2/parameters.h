// What convolutions of eSEN and UMA are made of: matrices in float64, in memory of somebody else, (in, out).
// Numbers of channels are multiples of the padding.
#pragma once

#include <vector>

#include "native/matrix.h"

namespace distmlip::native::so2 {

struct NormParameters {
  std::vector<double> scales, shifts;
  double epsilon = 0;
};

/// Functions of the length and of both elements: a network on Gaussians, with layer norms and silu between
/// its layers; or tables.
struct RadialParameters {
  int columns = 0;
  // The network.
  std::vector<double> centres;  ///< Å, of the Gaussians
  double exponent = 0;          ///< of squared distances from them, 1/Å²
  std::vector<Matrix> layers;   ///< of the first one what reads the Gaussians
  Matrix pair_biases{};         ///< of the first layer: [receiver's species · n_species + sender's]
  std::vector<std::vector<double>> biases;  ///< of the others
  std::vector<NormParameters> norms;        ///< behind all but the last one
  // Tables, if there are any.
  std::vector<double> ends;   ///< Å, of the cells
  std::vector<Matrix> cells;  ///< [pair of species][cell]: (n_coefficients, columns)
};

/// What all edges have.
struct EdgeParameters {
  std::vector<int> numbers;  ///< atomic numbers of the species
  int lmax = 0, channels = 0;
  double cutoff = 0;       ///< Å
  int envelope_power = 0;  ///< of the polynomial that takes messages to zero there
  double factor = 1;       ///< of messages
  RadialParameters radial;
};

/// Of one order: a complex matrix.
struct OrderParameters {
  Matrix real, difference, minus_sum;  ///< imaginary − real, −(imaginary + real)
};

/// Both layers on edges.
struct LayerParameters {
  Matrix first;                    ///< of order 0: to [gates | degrees]
  std::vector<double> first_bias;  ///< of it
  std::vector<OrderParameters> first_orders;
  std::vector<Matrix> second;                                      ///< of order 0, to each degree
  std::vector<double> second_bias;                                 ///< of it, [degree][channels]
  std::vector<std::vector<Matrix>> second_real, second_imaginary;  ///< [order - 1][degree - order]
};

struct ConvolutionParameters {
  EdgeParameters edges;
  int mmax = 0, hidden = 0;
};

}  // namespace distmlip::native::so2
