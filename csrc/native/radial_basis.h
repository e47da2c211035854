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

struct RadialBasis {
  std::vector<double> frequencies;  ///< 1/Å
  double factor = 1;
  double cutoff = 0;  ///< Å
  int power = 6;      ///< of the polynomial envelope; 0: XPLOR's, which begins at `switch_on`
  double switch_on = 0;
  std::optional<Agnesi> transform;

  int size() const { return static_cast<int>(frequencies.size()); }
  /// values[n] = factor · sin(frequency · x) / x · envelope(length), x the (transformed) length.
  void evaluate(double length, int species_pair, double* values, double* derivatives) const;
};

struct ValueAndSlope {
  double value, slope;
};

/// The polynomial that goes from 1 to 0 as x goes from 0 to 1, and its slope.
ValueAndSlope polynomial_envelope(double x, int power);

}  // namespace distmlip::native
