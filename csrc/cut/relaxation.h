// Rounder partitions: power cells grown from the pieces that planes have cut.
#pragma once

#include <cstdint>
#include <vector>

#include "core/buffer.h"
#include "cut/input.h"
#include "cut/power_cells.h"
#include "cut/sample.h"

namespace distmlip::cut {

/// Power cells of equal weight with each centre in the middle of its cell: they are nearly as round as cells
/// can be that fill space, so their borders are short (S. P. Lloyd, IEEE Trans. Inf. Theory 28, 129, 1982; F.
/// Aurenhammer, F. Hoffmann, B. Aronov, Algorithmica 20, 61, 1998).
class Relaxation {
 public:
  /// Starts from owners of a sample of the atoms, which settles while centres move and biases adapt.
  /// whole_axis: an axis that no border is to cut (cells are columns then), or -1.
  Relaxation(const Input& input, const Sample& sample, const Buffer<int32_t>& owner, int32_t n_partitions,
             int whole_axis);

  /// Rows of all halos together, nearly, if the sample were all there is.
  double estimated_halo() const;

  struct Owners {
    Buffer<int32_t> owner;  // (n_atoms)
    double imbalance;       // largest weight of a partition over the mean
  };
  /// Settles all atoms; biases adapt to the exact weights.
  Owners assign();

 private:
  using Point = PowerCells::Point;

  std::vector<Vec3> start(const Sample& sample, const Buffer<int32_t>& owner, int32_t n_partitions);
  PowerCells::Vector flat(const PowerCells::Vector& vector) const;
  std::vector<Vec3> middles(int32_t n_cells) const;
  void move_centres();
  void shift_points(const std::vector<Vec3>& moves);
  void settle(std::vector<Point>& points) const;
  std::vector<double> weights_of(const std::vector<Point>& points) const;
  void balance(const std::vector<double>& weights, double most);
  PowerCells::Places places_from(const Point& seen, int64_t begin, int64_t end) const;
  void settle_run(int64_t begin, int64_t end, const std::vector<float>& widths, Point& seen, int32_t* owner,
                  std::vector<Point>& near_border) const;
  double balance_exactly(const Buffer<int32_t>& owner, std::vector<Point>& border);
  std::vector<Point> settle_all(Buffer<int32_t>& owner) const;

  const Input& input_;
  int64_t stride_;
  PowerCells::Vector whole_{};  // unit vector along the axis that is not cut, or zero
  std::vector<Point> sample_;
  PowerCells cells_;
};

}  // namespace distmlip::cut
