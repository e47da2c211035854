// What blocks of gated messages are made of: matrices in float64, in memory of somebody else.
#pragma once

#include <optional>
#include <vector>

#include "native/matrix.h"
#include "native/radial_basis.h"

namespace distmlip::native::gated {

/// silu(core) · sigmoid(gate). Both are sums of projections, which the caller adds up, [core | gate]; or,
/// with hidden layers, linear in silu of these sums, layer by layer.
struct PerceptronParameters {
  std::vector<Matrix> hidden;  ///< of each layer, of core and of gate: (hidden channels, those behind it)
  std::vector<double> bias;    ///< behind each hidden layer, [core | gate]
  std::vector<double> scales;  ///< of the normalisation of both halves, whose means are zero already; and
  std::vector<double> shifts;  ///< both are empty if there is none
  double epsilon = 0;
};

/// Atoms get messages of their edges: of the atoms at both ends and of the bond.
struct AtomParameters {
  Matrix receivers, senders, bonds;  ///< (channels, sums)
  std::vector<double> bias;          ///< of the sums
  Matrix out;                        ///< (channels, channels), of an atom's messages
  std::vector<double> out_bias;      ///< empty: none
  PerceptronParameters perceptron;
};

/// What becomes of an angle: messages for its first bond, or an update of itself. Of both its bonds, itself
/// and the atom at its centre.
struct AngleParameters {
  Matrix first, second, angles, centres;  ///< (channels, sums)
  std::vector<double> bias;
  PerceptronParameters perceptron;
};

/// Of a BondConvolution before this block: what becomes of a bond's messages.
struct BondUpdate {
  Matrix out;
  std::vector<double> bias;  ///< empty: none
};

/// Functions of lengths and angles.
struct BasisParameters {
  RadialBasis bonds, short_bonds;         ///< of all bonds; of those that angles are made of, for weights
  std::vector<double> angle_frequencies;  ///< sines of them, then cosines
  Matrix bond_embedding, bond_weights;    ///< (bonds' basis, channels)
  Matrix short_weights;                   ///< (short bonds' basis, channels)
  Matrix angle_embedding;                 ///< (2 frequencies, channels)
};

struct BlockParameters {
  int index = 0;  ///< in the model
  int channels = 0;
  BasisParameters basis;
  std::optional<Matrix> species;        ///< (largest atomic number + 1, channels); of the first block
  std::optional<BondUpdate> previous;   ///< none in the first block
  std::vector<double> embedding_shift;  ///< that updates so far have added to every bond; empty: none
  AtomParameters atoms;
  std::optional<AngleParameters> bonds;           ///< none in the last block
  std::vector<AngleParameters> angles;            ///< updates before bonds get messages, in their order
  bool keeps_atoms = false, keeps_bonds = false;  ///< as they are when this block begins, for later ones
};

}  // namespace distmlip::native::gated
