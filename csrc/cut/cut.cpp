#include "cut/cut.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>
#include <tuple>
#include <utility>

#include "core/error.h"
#include "cut/layers.h"
#include "cut/plane_cuts.h"
#include "cut/relaxation.h"
#include "cut/sample.h"

namespace distmlip::cut {
namespace {

constexpr std::array<std::pair<Method, const char*>, 3> methods{
    {{Method::automatic, "auto"}, {Method::slab, "slab"}, {Method::bisection, "bisection"}}};

/// With more slabs than this times the ratio of the two longest extents, bisection has smaller borders.
constexpr double most_slabs_per_ratio = 4;
/// Of slabs and other cuts that are nearly as good, slabs: they have two neighbours each.
constexpr double slab_preference = 1.05;

/// Partitions are made rounder unless they are so many that this takes long, or of so few atoms that it
/// fails.
constexpr int32_t most_round = 1024;
constexpr int64_t fewest_atoms_of_round = 128;
constexpr double accepted_imbalance = 1.03;
/// Planes are as good as a lattice that they are parallel to makes them, round cells are good everywhere:
/// planes must be expected to touch less by more than the expectation errs.
constexpr double cell_preference = 1.1;

/// Atoms that the shape of the system is seen from, and those that stand for all of a partition.
constexpr int64_t sample_of_system = 1024;
constexpr int64_t sample_of_partition = 128;
/// Atoms that one of the sample may stand for.
constexpr int64_t most_atoms_of_one = 256;

/// Partitions not much smaller than the system is thick are best as columns through all of it, those smaller
/// than it are not always; so in between both are tried.
constexpr double columns_up_to = 2.25;
constexpr double columns_below = 1;

constexpr int most_reductions = 100;

/// The same lattice with vectors that are shorter and nearly orthogonal: what is cut along them is compact.
Cell reduced(Cell cell) {
  bool changed = true;
  for (int round = 0; changed && round < most_reductions; ++round) {
    changed = false;
    for (const auto& [i, j] : {std::pair(0, 1), {1, 0}, {0, 2}, {2, 0}, {1, 2}, {2, 1}}) {
      const Vec3 a = cell.row(i), b = cell.row(j);
      const double times = cell.periodic[i] && cell.periodic[j] ? std::round(dot(a, b) / dot(b, b)) : 0;
      for (int k = 0; k < 3; ++k) cell.vectors[3 * i + k] -= times * b[k];
      changed |= times != 0;
    }
  }
  return cell;
}

bool can_be_round(const Input& input, int32_t n_partitions) {
  return n_partitions <= most_round && input.n_atoms / n_partitions >= fewest_atoms_of_round;
}

int64_t sample_size(const Input& input, int32_t n_partitions) {
  const int64_t for_partitions = can_be_round(input, n_partitions) ? n_partitions * sample_of_partition : 0;
  return std::max({sample_of_system, input.n_atoms / most_atoms_of_one, for_partitions});
}

/// What is known of a system before it is cut.
struct System {
  System(const Input& given, int32_t count)
      : input(given),
        n_partitions(count),
        sample(given, sample_size(given, count)),
        axes(cut_axes(sample.view(given))) {
    for (int axis = 0; axis < 3; ++axis) start_at_origin(axis);
    const auto lengths = occupied_lengths(sample.view(input), axes);
    std::sort(by_length.begin(), by_length.end(), [&](int a, int b) { return lengths[a] < lengths[b]; });
    std::tie(shortest, middle, longest) =
        std::tuple(lengths[by_length[0]], lengths[by_length[1]], lengths[by_length[2]]);
  }

  const Input& input;
  int32_t n_partitions;
  Sample sample;  // in the images of atoms that lie next to each other between the origins of the axes
  CutAxes axes;
  std::array<int, 3> by_length{0, 1, 2};  // axes, shortest first
  double shortest, middle, longest;       // their lengths, Å

 private:
  void start_at_origin(int axis) {
    const Vec3 row = input.cell.row(axis);
    for (int64_t k = 0; k < sample.size(); ++k) {
      const double turns = axes[axis].turns(sample.x[k], sample.y[k], sample.z[k]);
      sample.x[k] -= static_cast<float>(turns * row[0]);
      sample.y[k] -= static_cast<float>(turns * row[1]);
      sample.z[k] -= static_cast<float>(turns * row[2]);
    }
  }
};

/// The bisection with the smallest halo, as far as a sample can tell.
struct Bisection {
  int whole_axis = -1;  // of planes
  double halo_of_planes = std::numeric_limits<double>::infinity();
  std::optional<Relaxation> cells;
  double halo_of_cells = std::numeric_limits<double>::infinity();
};

void consider(const System& system, int whole_axis, Bisection& best) {
  const PlaneCuts planes =
      bisect(system.sample.view(system.input), system.axes, system.n_partitions, whole_axis);
  if (planes.estimated_halo() < best.halo_of_planes) {
    best.halo_of_planes = planes.estimated_halo();
    best.whole_axis = whole_axis;
  }
  if (!can_be_round(system.input, system.n_partitions)) return;
  Relaxation cells(system.input, system.sample, planes.owner, system.n_partitions, whole_axis);
  const double halo = cells.estimated_halo();
  if (halo < best.halo_of_cells) {
    best.halo_of_cells = halo;
    best.cells.emplace(std::move(cells));
  }
}

Bisection best_bisection(const System& system) {
  const double size = std::cbrt(system.shortest * system.middle * system.longest / system.n_partitions);
  Bisection best;
  if (system.shortest <= columns_up_to * size) consider(system, system.by_length[0], best);
  if (system.shortest > columns_below * size) consider(system, -1, best);
  return best;
}

Cut bisection(const System& system, Bisection best) {
  if (best.cells && best.halo_of_cells < cell_preference * best.halo_of_planes) {
    Relaxation::Owners owners = best.cells->assign();
    if (owners.imbalance <= accepted_imbalance) return {std::move(owners.owner), Method::bisection};
  }
  return {bisect(system.input, system.axes, system.n_partitions, best.whole_axis).owner, Method::bisection};
}

PlaneCuts slabs(const System& system, const Input& atoms) {
  return cut_slabs(atoms, system.axes, system.n_partitions, system.by_length[2]);
}

/// While slabs are thick compared with the system's width, unless it is so uneven that other planes touch
/// less.
bool slabs_are_best(const System& system) {
  if (system.n_partitions * system.middle > most_slabs_per_ratio * system.longest) return false;
  const Input some = system.sample.view(system.input);
  const PlaneCuts planes = bisect(some, system.axes, system.n_partitions, -1);
  const bool are_slabs = planes.n_cuts[system.by_length[2]] == system.n_partitions - 1;
  return are_slabs || slabs(system, some).estimated_halo() <= slab_preference * planes.estimated_halo();
}

}  // namespace

std::string name_of(Method method) {
  return std::find_if(methods.begin(), methods.end(), [&](const auto& of) { return of.first == method; })
      ->second;
}

std::vector<std::string> method_names() {
  std::vector<std::string> names;
  names.reserve(methods.size());
  for (const auto& [method, name] : methods) names.emplace_back(name);
  return names;
}

Method method_named(const std::string& name) {
  for (const auto& [method, its_name] : methods)
    if (name == its_name) return method;
  invalid("method is '", name, "'; it must be 'auto', 'slab' or 'bisection'");
}

Cut make_cut(const Input& input, int32_t n_partitions, Method method) {
  if (n_partitions == 1 || input.n_atoms == 0)
    return {Buffer<int32_t>(input.n_atoms, 0), method == Method::bisection ? method : Method::slab};
  const float* weights = input.weights;
  Buffer<float> equal;
  if (std::all_of(weights, weights + input.n_atoms, [](float weight) { return weight == 0; })) {
    equal.assign(input.n_atoms, 1.0f);
    weights = equal.data();
  }
  const Cell cell = reduced(input.cell);
  const Input atoms{cell, input.n_atoms, input.x, input.y, input.z, weights, input.cutoff, input.n_threads};
  const System system(atoms, n_partitions);
  if (method == Method::slab || (method == Method::automatic && slabs_are_best(system)))
    return {slabs(system, atoms).owner, Method::slab};
  return bisection(system, best_bisection(system));
}

}  // namespace distmlip::cut
