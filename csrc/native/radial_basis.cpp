#include "native/radial_basis.h"

#include <cmath>

namespace distmlip::native {
namespace {

ValueAndSlope xplor(double length, double on, double cutoff) {
  if (length < on) return {1, 0};
  if (length >= cutoff) return {0, 0};
  const double r2 = length * length, on2 = on * on, cutoff2 = cutoff * cutoff;
  const double span = std::pow(cutoff2 - on2, 3), rest = cutoff2 - r2, other = cutoff2 + 2 * r2 - 3 * on2;
  return {rest * rest * other / span, (-4 * length * rest * other + rest * rest * 4 * length) / span};
}

ValueAndSlope transformed(const Agnesi& agnesi, double length, int species_pair) {
  const double radius = agnesi.radii[static_cast<size_t>(species_pair)];
  const double x = length / radius;
  const double high = std::pow(x, agnesi.q), low = std::pow(x, agnesi.q - agnesi.p);
  const double fraction = agnesi.a * high / (1 + low);
  const double slope = fraction / x * (agnesi.q - (agnesi.q - agnesi.p) * low / (1 + low));
  const double value = 1 / (1 + fraction);
  return {value, -value * value * slope / radius};
}

}  // namespace

ValueAndSlope polynomial_envelope(double x, int power) {
  if (x >= 1) return {0, 0};
  const double p = power, below = std::pow(x, power - 1), at = below * x;
  return {1 - (p + 1) * (p + 2) / 2 * at + p * (p + 2) * at * x - p * (p + 1) / 2 * at * x * x,
          p * (p + 1) * (p + 2) * (-below / 2 + at - at * x / 2)};
}

ValueAndSlope Envelope::at(double length) const {
  switch (kind) {
    case Kind::polynomial: {
      const ValueAndSlope of = polynomial_envelope(length / cutoff, power);
      return {of.value, of.slope / cutoff};
    }
    case Kind::xplor:
      return xplor(length, switch_on, cutoff);
    case Kind::cosine: {
      const double angle = M_PI * length / cutoff;
      if (length > cutoff) return {0, 0};
      return {(std::cos(angle) + 1) / 2, -std::sin(angle) * M_PI / (2 * cutoff)};
    }
    default:
      return {1, 0};
  }
}

void RadialBasis::evaluate(double length, int species_pair, double* values, double* derivatives) const {
  const ValueAndSlope damping = envelope.at(length);
  const ValueAndSlope x =
      transform ? transformed(*transform, length, species_pair) : ValueAndSlope{length, 1};
  for (size_t n = 0; n < frequencies.size(); ++n) {
    const double w = frequencies[n], sine = std::sin(w * x.value), cosine = std::cos(w * x.value);
    const double value = factor * sine / x.value, slope = factor * (w * cosine - sine / x.value) / x.value;
    values[n] = value * damping.value;
    derivatives[n] = slope * x.slope * damping.value + value * damping.slope;
  }
  if (!with_envelope) return;
  values[frequencies.size()] = damping.value;
  derivatives[frequencies.size()] = damping.slope;
}

}  // namespace distmlip::native
