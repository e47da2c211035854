#include "partition/decomposition.h"

#include <cmath>
#include <limits>
#include <utility>

#include "core/error.h"
#include "core/thread_pool.h"
#include "graph/bins.h"
#include "graph/wrapping.h"

namespace distmlip::partition {
namespace {

constexpr int32_t most_partitions = 4096;
constexpr int64_t most_atoms = std::numeric_limits<int32_t>::max();
constexpr double largest_cutoff = 1e6;  // Å

/// Below this many atoms per thread, starting a thread costs more than it saves.
constexpr int64_t atoms_per_thread = 500;

void check(const Request& request) {
  if (request.n_atoms < 0 || request.n_atoms > most_atoms) {
    invalid("n_atoms is ", request.n_atoms, "; it must be between 0 and ", most_atoms);
  }
  if (request.n_partitions < 1 || request.n_partitions > most_partitions) {
    invalid("n_partitions is ", request.n_partitions, "; it must be between 1 and ", most_partitions);
  }
  if (!(request.cutoff > 0 && request.cutoff <= largest_cutoff)) {
    invalid("cutoff is ", request.cutoff, " Å; it must be above 0 and at most ", largest_cutoff, " Å");
  }
  if (!(request.bond_cutoff >= 0 && request.bond_cutoff <= request.cutoff)) {
    invalid("bond_cutoff is ", request.bond_cutoff, " Å; it must be between 0 (no bonds) and the cutoff of ",
            request.cutoff, " Å");
  }
  if (!(request.skin >= 0 && request.skin <= largest_cutoff)) {
    invalid("skin is ", request.skin, " Å; it must be between 0 and ", largest_cutoff, " Å");
  }
  for (int64_t atom = 0; request.weights && atom < request.n_atoms; ++atom) {
    if (!(request.weights[atom] >= 0 && std::isfinite(request.weights[atom]))) {
      invalid("weights[", atom, "] is ", request.weights[atom], "; weights must be finite and not negative");
    }
  }
}

Decomposition frozen(const Request& request) {
  Decomposition result;
  result.n_atoms = request.n_atoms;
  result.cell = request.cell;
  result.cutoff = request.cutoff;
  result.bond_cutoff = request.bond_cutoff;
  result.skin = request.skin;
  result.n_partitions = request.n_partitions;
  result.reference.assign(request.positions, request.positions + 3 * request.n_atoms);
  return result;
}

/// Owned atoms of every partition, in bin order.
std::vector<std::vector<int32_t>> owned_atoms(const graph::Bins& bins, const Decomposition& result) {
  std::vector<std::vector<int32_t>> owned(result.n_partitions);
  for (size_t slot = 0; slot < bins.atom.size(); ++slot) {
    const int32_t atom = bins.atom[slot];
    if (bins.slot[atom] == static_cast<int32_t>(slot)) owned[result.owner[atom]].push_back(atom);
  }
  return owned;
}

void build_parts(const graph::Bins& bins, const std::vector<double>& wrapped, int n_threads,
                 Decomposition& result) {
  auto owned = owned_atoms(bins, result);
  result.parts.resize(result.n_partitions);
  if (n_threads <= 0) n_threads = available_threads();
  n_threads = static_cast<int>(std::min<int64_t>(n_threads, 1 + result.n_atoms / atoms_per_thread));
  std::vector<std::vector<int32_t>> local_rows(n_threads);
  parallel_for(result.n_partitions, n_threads, [&](int64_t p, int thread) {
    auto& local_row = local_rows[thread];
    if (local_row.empty()) local_row.assign(result.n_atoms, -1);
    result.parts[p] =
        build_local_graph(bins, result.owner, result.n_partitions, std::move(owned[p]), local_row);
    if (result.has_bonds()) plan_bonds(result, wrapped.data(), static_cast<int32_t>(p), result.parts[p]);
  });
}

}  // namespace

Decomposition decompose(const Request& request) {
  check(request);
  Decomposition result = frozen(request);
  result.wrap = graph::wrap_counts(request.cell, request.positions, request.n_atoms);
  std::vector<double> wrapped(3 * request.n_atoms);
  wrap_positions(result, request.positions, wrapped.data());
  const auto bins =
      graph::sort_into_bins(request.cell, wrapped.data(), request.n_atoms, request.cutoff + request.skin);
  result.shifts = bins.shifts;
  for (int64_t code = 0; code < result.n_codes(); ++code) {
    const Vec3 vector = shift_vector(request.cell, result.shifts.data() + 3 * code);
    result.shift_vectors.insert(result.shift_vectors.end(), vector.begin(), vector.end());
  }
  Cut owners = cut({request.cell, bins, wrapped.data(), request.weights, request.cutoff},
                   request.n_partitions, request.method);
  result.owner = std::move(owners.owner);
  result.method = owners.method;
  build_parts(bins, wrapped, request.n_threads, result);
  result.send = plan_sends(result.parts, result.n_atoms);
  return result;
}

}  // namespace distmlip::partition
