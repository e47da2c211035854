// Bessel functions under a cutoff: what radial networks are given, with derivatives, in float64.
#pragma once

#include <optional>
#include <vector>

namespace distmlip::native {

/// MACE's Agnesi transform of a length, with the mean covalent radius of each species pair.
struct Agnesi {
  double a, q, p;
  std::vector<double> radii;  ///< [receiver's species · n_species + sender's]
};

struct ValueAndSlope {
  double value, slope;
};

struct Envelope {
  enum class Kind { none, polynomial, xplor, cosine };
  Kind kind = Kind::polynomial;
  double cutoff = 0;     ///< Å
  int power = 6;         ///< of the polynomial
  double switch_on = 0;  ///< Å; where XPLOR's begins

  ValueAndSlope at(double length) const;
};

struct RadialBasis {
  std::vector<double> frequencies;  ///< 1/Å
  double factor = 1;
  Envelope envelope;
  std::optional<Agnesi> transform;
  bool with_envelope = false;  ///< as the last one

  int size() const { return static_cast<int>(frequencies.size()) + with_envelope; }
  /// values[n] = factor · sin(frequency · x) / x · envelope(length), x the (transformed) length.
  void evaluate(double length, int species_pair, double* values, double* derivatives) const;
};

/// The polynomial that goes from 1 to 0 as x goes from 0 to 1, and its slope.
ValueAndSlope polynomial_envelope(double x, int power);

}  // namespace distmlip::native
