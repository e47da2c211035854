// Bins in space, as algorithms for devices see them: the layout of neighbors/bins.h in plain numbers.
#pragma once

#include <cstdint>

#include "kernels/device/parallel.h"

namespace distmlip::kernels {

/// Empty stretches cut out of one axis: a place within layer k of `n` equal layers moves by −removed[k].
struct Squeeze {
  const double* removed = nullptr;  // (n) on the device; null: nothing is cut out
  int32_t n = 0;
  double origin = 0, per_unit = 0;

  DISTMLIP_DEVICE int32_t layer(double place) const {
    const double layer = (place - origin) * per_unit;
    return layer <= 0 ? 0 : layer >= n - 1 ? n - 1 : static_cast<int32_t>(layer);
  }
};

/// Bins along one axis: `count` real ones between `layers` ghost ones on either side.
struct GridAxis {
  int32_t count = 1, layers = 0;
  int32_t images = 0;   // largest absolute shift of a ghost bin
  double origin = 0;    // fractional coordinate where the first real bin starts
  double per_unit = 0;  // bins per unit of the fractional coordinate
  Squeeze squeeze;

  DISTMLIP_HOST_DEVICE int32_t extent() const { return count + 2 * layers; }
};

struct GridBin {
  int64_t real;      // the bin that a bin is a copy of; -1: outside, where the axis is not periodic
  int32_t shift[3];  // from which periodic image
};

/// Bins are numbered x fastest, ghosts included.
struct Grid {
  GridAxis axes[3];
  double to_fractional[9];  // rows b_k with fractional_k = b_k · x
  double cell[9];           // rows, Å
  double middle[3];         // Å, the common origin of coordinates in float32
  float inner, outer;       // squared distances below `inner` are edges, from `outer` on are not

  DISTMLIP_HOST_DEVICE int64_t row_stride() const { return axes[0].extent(); }
  DISTMLIP_HOST_DEVICE int64_t plane_stride() const { return row_stride() * axes[1].extent(); }
  DISTMLIP_HOST_DEVICE int64_t n_bins() const { return plane_stride() * axes[2].extent(); }
  DISTMLIP_HOST_DEVICE int32_t n_codes() const {
    return (2 * axes[0].images + 1) * (2 * axes[1].images + 1) * (2 * axes[2].images + 1);
  }

  DISTMLIP_DEVICE double fractional(int k, const double* x) const {
    return (to_fractional[3 * k] * x[0] + to_fractional[3 * k + 1] * x[1]) + to_fractional[3 * k + 2] * x[2];
  }

  DISTMLIP_DEVICE int64_t bin_of(const double* position) const {
    int64_t bin = 0;
    for (int k = 2; k >= 0; --k) {
      const GridAxis& axis = axes[k];
      double place = fractional(k, position);
      if (axis.squeeze.removed) place -= axis.squeeze.removed[axis.squeeze.layer(place)];
      place = (place - axis.origin) * axis.per_unit;
      const int32_t index = place <= 0                ? 0
                            : place >= axis.count - 1 ? axis.count - 1
                                                      : static_cast<int32_t>(place);
      bin = bin * axis.extent() + index + axis.layers;
    }
    return bin;
  }

  DISTMLIP_DEVICE GridBin source_of(int64_t bin) const {
    GridBin source{0, {0, 0, 0}};
    int64_t stride = 1;
    for (int k = 0; k < 3; ++k) {
      const GridAxis& axis = axes[k];
      const int32_t relative = static_cast<int32_t>(bin % axis.extent()) - axis.layers;
      bin /= axis.extent();
      source.shift[k] = relative >= 0 ? relative / axis.count : -((axis.count - 1 - relative) / axis.count);
      if (axis.images == 0 && source.shift[k] != 0) return {-1, {0, 0, 0}};
      source.real += stride * (relative - source.shift[k] * axis.count + axis.layers);
      stride *= axis.extent();
    }
    return source;
  }

  DISTMLIP_DEVICE uint16_t code(const int32_t* shift) const {
    int32_t code = 0;
    for (int k = 2; k >= 0; --k) code = code * (2 * axes[k].images + 1) + shift[k] + axes[k].images;
    return static_cast<uint16_t>(code);
  }

  DISTMLIP_DEVICE void shift_of(int32_t code, int32_t* shift) const {
    for (int k = 0; k < 3; ++k) {
      const int32_t n = 2 * axes[k].images + 1;
      shift[k] = code % n - axes[k].images;
      code /= n;
    }
  }
};

/// shift · cell, in the order of operations of core/cell.h.
DISTMLIP_DEVICE inline double shift_component(const double* cell, const int32_t* shift, int k) {
  return (shift[0] * cell[k] + shift[1] * cell[3 + k]) + shift[2] * cell[6 + k];
}

}  // namespace distmlip::kernels
