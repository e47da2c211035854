// What blocks of gated messages of directed edges are made of: matrices in float64, in memory of somebody
// else. Numbers of channels are multiples of the padding.
#pragma once

#include <optional>
#include <vector>

#include "native/gated/parameters.h"

namespace distmlip::native::directed {

/// Functions of the length, in groups: Chebyshev polynomials on cells.
struct TableParameters {
  std::vector<double> ends;   ///< Å, of the cells
  std::vector<int> columns;   ///< of each group
  std::vector<Matrix> cells;  ///< (n_coefficients, Σ columns) each
};

/// A gated perceptron of rows that gather others: its first layer, divided among what it is applied to.
struct LayerParameters {
  std::vector<Matrix> sources;  ///< (channels, sums): of edges, receivers and senders; of angles, the node
                                ///< that sends, the one that receives, and the centre
  Matrix own;                   ///< (channels, sums), of the row itself
  std::vector<double> bias;     ///< of the sums; empty: none
  gated::PerceptronParameters perceptron;
};

/// What comes of a layer is multiplied by functions of the length.
struct WeightedLayer {
  LayerParameters layer;
  int weights = 0;  ///< group of the tables
};

struct NormParameters {
  std::vector<double> scales, shifts;
  double epsilon = 0;
};

/// sinᵐ · polynomial, of the cosine of an angle.
struct AngularFunction {
  std::vector<double> polynomial;
  int order = 0;
};

/// What an edge gets of the angles with the other edges of its receiver: in each column a sum over these of
/// functions of the angle, of the other edge's length and of the atom that it comes from; times a function of
/// its own length.
struct ThreeBodyParameters {
  std::vector<AngularFunction> functions;
  std::vector<int> of_column;    ///< the function of each column
  std::vector<int> degrees;      ///< of each function that is the Legendre polynomial of this degree, times
                                 ///< 2 l + 1; empty: they are evaluated for each pair of edges
  double margin = 0;             ///< cosines are kept within ±(1 − margin)
  int functions_of_length = -1;  ///< group of the tables: that of the edge itself behind those of columns
  bool reads_centres = false;    ///< of atoms: the one in the middle instead of the other edge's
  LayerParameters layer;         ///< without sources; own: (padded columns, sums)
};

/// What the next three-body interaction reads of an atom: a sigmoid.
struct EndAtomParameters {
  Matrix weights;  ///< (channels, padded columns)
  std::vector<double> bias;
};

/// Messages of angles to the nodes of the line graph, which are directed short bonds.
struct NodeParameters {
  WeightedLayer messages;  ///< weighted with functions of the lengths of both nodes
  Matrix out;              ///< (channels, channels), of a node's messages
};

struct BlockParameters {
  int atoms = 0, edges = 0;  ///< channels
  TableParameters tables;
  std::optional<Matrix> species;  ///< (largest atomic number + 1, atoms): of the first block
  int embedding = -1;             ///< group of the tables, if edges are that before; -1: they are an input
  bool has_nodes = false;         ///< some edges are nodes of the line graph, which are inputs
  std::optional<LayerParameters> angles;  ///< their update before everything else
  std::optional<NodeParameters> nodes;    ///< their update after everything else
  std::optional<ThreeBodyParameters> three_body;
  std::optional<Matrix> end_species;  ///< (largest atomic number + 1, columns): of the first block
  std::optional<WeightedLayer> edge_update;
  WeightedLayer messages;
  std::optional<Matrix> out;  ///< (atoms, atoms)
  std::optional<NormParameters> atom_norm, edge_norm;
  std::optional<EndAtomParameters> end_atoms;
  bool gives_edges = false;     ///< as they are then
  bool gives_crossing = false;  ///< those of cut bonds
};

/// An update of nodes that are edges before.
struct NodeStageParameters {
  TableParameters tables;
  NodeParameters nodes;
};

/// Sines of angles, then cosines, and what becomes of them.
struct AngleBasisParameters {
  std::vector<double> frequencies;
  Matrix embedding;  ///< (2 padded frequencies, channels)
  double margin = 0;
};

}  // namespace distmlip::native::directed
