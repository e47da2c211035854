// The one definition of an edge's vector and of "shorter than the cutoff".
#pragma once

#include <cmath>
#include <limits>

#ifdef __CUDACC__
#define DISTMLIP_HOST_DEVICE __host__ __device__
#else
#define DISTMLIP_HOST_DEVICE
#endif

namespace distmlip::kernels {

/// One component of (x[sender] − x[receiver]) + shift · cell. In this order, and without fused
/// multiply-add, an edge and its reverse are exact negatives of each other.
DISTMLIP_HOST_DEVICE inline double edge_component(double sender, double receiver, double shift_vector) {
  return (sender - receiver) + shift_vector;
}

DISTMLIP_HOST_DEVICE inline double squared_length(double x, double y, double z) {
  return (x * x + y * y) + z * z;
}

/// The smallest number whose square root is not below `cutoff`: `squared < squared_limit(cutoff)` is
/// the same as `sqrt(squared) < cutoff`, because a correctly rounded square root is monotonic.
inline double squared_limit(double cutoff) {
  double limit = cutoff * cutoff;
  while (limit > 0 && std::sqrt(std::nextafter(limit, 0.0)) >= cutoff) limit = std::nextafter(limit, 0.0);
  while (std::sqrt(limit) < cutoff) limit = std::nextafter(limit, std::numeric_limits<double>::infinity());
  return limit;
}

}  // namespace distmlip::kernels
