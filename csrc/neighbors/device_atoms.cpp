#include "neighbors/device_atoms.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "neighbors/bin_axes.h"
#include "neighbors/bins.h"

namespace distmlip::neighbors {
namespace {

static_assert(kernels::wrap_shares == n_shares);

/// Rows of vectors that mean nothing are left out.
void copy_cell(const Cell& cell, double* rows) {
  for (int axis = 0; axis < 3; ++axis)
    for (int k = 0; k < 3; ++k) rows[3 * axis + k] = cell.periodic[axis] ? cell.vectors[3 * axis + k] : 0.0;
}

void copy_inverse(const Cell& cell, double* rows) {
  const auto inverse_rows = inverse(completed(cell));
  for (int axis = 0; axis < 3; ++axis) std::copy_n(inverse_rows[axis].data(), 3, rows + 3 * axis);
}

Extent extent_of(const kernels::AtomExtent& found) {
  Extent extent{};
  for (int k = 0; k < 3; ++k) {
    extent.cartesian[k] = {found.cartesian_low[k], found.cartesian_high[k]};
    extent.fractional[k] = {found.fractional_low[k], found.fractional_high[k]};
  }
  extent.farthest = found.farthest;
  return extent;
}

class Sorter {
 public:
  Sorter(kernels::DeviceKernels& kernels, const Cell& cell, const double* positions, int64_t n_atoms)
      : kernels_(kernels), cell_(cell), positions_(positions), n_atoms_(n_atoms) {}

  DeviceAtoms sort(double radius) {
    wrap(radius);
    kernels::Grid grid = grid_for(radius);
    atoms_.sorted = kernels_.sort_atoms(grid, n_atoms_, atoms_.wrapped.positions.data());
    return std::move(atoms_);
  }

 private:
  void wrap(double radius) {
    kernels::WrapRequest request{};
    request.n_atoms = n_atoms_;
    copy_inverse(cell_, request.to_fractional);
    copy_cell(cell_, request.cell);
    std::copy_n(cell_.periodic.data(), 3, request.periodic);
    request.farthest_allowed = farthest_allowed;
    atoms_.wrapped = kernels_.wrap_atoms(request, positions_);
    const kernels::AtomExtent& found = atoms_.wrapped.extent;
    if (found.refused != kernels::no_atom) {
      Vec3 position;
      kernels_.read(positions_ + 3 * static_cast<int64_t>(found.refused), sizeof position, position.data());
      refuse_position(cell_, found.refused, position);
    }
    extent_ = extent_of(found);
    std::array<Occupied, 3> occupied;
    for (int axis = 0; axis < 3; ++axis)
      std::copy_n(found.occupied.data() + axis * n_shares, n_shares, occupied[axis].data());
    const auto first = first_shares(cell_, occupied, radius, extent_);
    if (first[0] > 0 || first[1] > 0 || first[2] > 0) {
      kernels_.lift_atoms(request, positions_, {{first[0], first[1], first[2]}}, atoms_.wrapped);
      const auto meets_images = extent_.meets_images;
      extent_ = extent_of(found);
      extent_.meets_images = meets_images;
    }
    for (int axis = 0; axis < 3; ++axis)
      if (extent_.meets_images[axis]) extent_.fractional[axis] = {0, 1};
    atoms_.farthest = extent_.farthest;
  }

  kernels::Grid grid_for(double radius) {
    const Reach reach = reach_of(extent_, radius);
    kernels::Grid grid{};
    copy_inverse(cell_, grid.to_fractional);
    copy_cell(cell_, grid.cell);
    grid.inner = reach.limits.inner;
    grid.outer = reach.limits.outer;
    const BinLayout layout =
        choose_bins(cell_, extent_, n_atoms_, reach.outer, [&](int axis, const kernels::Squeeze& layers) {
          kernels::LayerRequest request{};
          std::copy_n(grid.to_fractional + 3 * axis, 3, request.to_fractional);
          request.layers = layers;
          return kernels_.occupied_layers(n_atoms_, atoms_.wrapped.positions.data(), request);
        });
    const auto& axes = layout.axes;
    for (int k = 0; k < 3; ++k) {
      grid.middle[k] = extent_.cartesian[k].low + extent_.cartesian[k].length() / 2;
      grid.axes[k].count = axes[k].count;
      grid.axes[k].layers = axes[k].layers;
      grid.axes[k].images = axes[k].images;
      grid.axes[k].origin = axes[k].origin;
      grid.axes[k].per_unit = axes[k].per_unit;
      grid.axes[k].squeeze = squeeze_of(k, layout.layers[k]);
    }
    atoms_.shifts = numbered_shifts(axes);
    return grid;
  }

  kernels::Squeeze squeeze_of(int axis, const AxisLayers& layers) {
    kernels::Squeeze squeeze = layers.squeeze;
    if (layers.removed.empty()) return squeeze;
    removed_[axis] = kernels_.copy_of(layers.removed.data(), static_cast<int64_t>(layers.removed.size()));
    squeeze.removed = removed_[axis].data();
    return squeeze;
  }

  kernels::DeviceKernels& kernels_;
  const Cell& cell_;
  const double* positions_;
  int64_t n_atoms_;
  Extent extent_{};
  DeviceAtoms atoms_;
  std::array<kernels::Array<double>, 3> removed_;
};

}  // namespace

DeviceAtoms sort_on_device(kernels::DeviceKernels& kernels, const Cell& cell, const double* positions,
                           int64_t n_atoms, double radius) {
  constexpr int64_t most_atoms = std::numeric_limits<int32_t>::max();
  if (n_atoms > most_atoms) invalid("there are ", n_atoms, " atoms; at most ", most_atoms, " are supported");
  if (n_atoms == 0) {
    completed(cell);
    DeviceAtoms none;
    none.wrapped.counts = kernels.array<int32_t>(0);
    none.shifts = {0, 0, 0};
    return none;
  }
  return Sorter(kernels, cell, positions, n_atoms).sort(radius);
}

}  // namespace distmlip::neighbors
