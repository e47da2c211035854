// Space divided among centres, such that the share of each can be made larger or smaller.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "core/cell.h"
#include "core/vec3.h"

namespace distmlip::cut {

/// Power cells: a place x belongs to the centre c, or a periodic image of it, with the smallest
/// |x − c|² − bias (F. Aurenhammer, SIAM J. Comput. 16, 78, 1987).
///
/// Places are given relative to the centre whose cell they are thought to be in. Only the planes towards the
/// nearest centres are known.
class PowerCells {
 public:
  using Vector = std::array<float, 3>;

  /// A place, with what stands there.
  struct Point {
    Vector from_centre;  // Å
    int32_t cell;
    int32_t atom;
    float weight;
  };

  /// Several places, relative to the same centre.
  struct Places {
    static constexpr int most = 16;
    int n = 0;
    std::array<float, most> x, y, z;
  };

  PowerCells(const Cell& cell, std::vector<Vec3> centres);

  int32_t size() const { return static_cast<int32_t>(centres_.size()); }

  /// Moves centres, Å. The planes known are still those towards the same centres.
  void move(const std::vector<Vec3>& moves);
  /// Looks for the nearest centres of every centre.
  void find_neighbours(int n_threads);
  /// Adds to biases, Å²: a positive change makes the cell larger.
  void change_biases(const std::vector<double>& changes);
  /// Orders planes, nearest first. beyond_borders() needs it, after any of the changes above.
  void sort_planes();

  /// Distance of the nearest centre or image, Å.
  float nearest_centre(int32_t cell) const;

  /// So little beyond a plane a place still counts as inside, Å: rounding must not send it to and fro.
  static constexpr float tolerance = 1e-3f;

  /// Moves the point from cell to cell until it is where it belongs.
  void settle(Point& point) const;

  /// How far each place is outside the cell, Å: below 0 if inside; −infinity if no border is within `width`,
  /// for most such places.
  void beyond_borders(const Places& places, int32_t cell, float width,
                      std::array<float, Places::most>& beyond) const;

  /// Number of other cells within `reach` of a point that is settled, nearly.
  int cells_within(float reach, const Point& point) const;

 private:
  /// The planes between a cell and its neighbours.
  struct Planes {
    static constexpr int count = 24;  // a cell has 14 to 16 that matter
    using Values = std::array<float, count>;

    Values x, y, z;   // unit normals, outwards
    Values distance;  // Å from the centre to the plane; infinite if there are not so many neighbours
    Values length;    // Å from the centre to the neighbour's
    std::array<int32_t, count> neighbour;

    /// How far a place is beyond a plane, Å.
    float beyond(int plane, const Vector& place) const {
      return place[0] * x[plane] + place[1] * y[plane] + place[2] * z[plane] - distance[plane];
    }
    float beyond_any(const Vector& place) const;
    void set_normal(int plane, const Vec3& to_neighbour);
  };

  void update_distances(int32_t cell);

  Cell cell_;
  std::vector<Vec3> centres_;   // Å
  std::vector<double> biases_;  // Å²
  std::vector<Planes> planes_;
};

}  // namespace distmlip::cut
