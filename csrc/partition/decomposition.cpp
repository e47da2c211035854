#include "partition/decomposition.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <utility>

#include "core/error.h"
#include "core/thread_pool.h"
#include "neighbors/bins.h"
#include "neighbors/neighbor_search.h"
#include "neighbors/wrapping.h"
#include "partition/device_candidates.h"

namespace distmlip::partition {
namespace {

constexpr int32_t most_partitions = 1000000;
constexpr int64_t most_atoms = std::numeric_limits<int32_t>::max();
constexpr double largest_cutoff = 1e6;  // Å

/// Below this many atoms per thread, starting a thread costs more than it saves.
constexpr int64_t atoms_per_thread = 500;

void check_partitions(const Request& request) {
  if (request.n_partitions < 1 || request.n_partitions > most_partitions)
    invalid("n_partitions is ", request.n_partitions, "; it must be between 1 and ", most_partitions);
  const auto [begin, end] = request.here;
  if (begin < 0 || end > request.n_partitions || (begin >= end && end != 0))
    invalid("partitions [", begin, ", ", end, ") are not some of ", request.n_partitions);
}

void check(const Request& request) {
  if (request.n_atoms < 0 || request.n_atoms > most_atoms)
    invalid("n_atoms is ", request.n_atoms, "; it must be between 0 and ", most_atoms);
  if (!(request.cutoff > 0 && request.cutoff <= largest_cutoff))
    invalid("cutoff is ", request.cutoff, " Ang; it must be above 0 and at most ", largest_cutoff, " Ang");
  if (!(request.bond_cutoff >= 0 && request.bond_cutoff <= request.cutoff)) {
    invalid("bond_cutoff is ", request.bond_cutoff,
            " Ang; it must be between 0 (no bonds) and the cutoff of ", request.cutoff, " Ang");
  }
  if (!(request.skin >= 0 && request.skin <= largest_cutoff))
    invalid("skin is ", request.skin, " Ang; it must be between 0 and ", largest_cutoff, " Ang");
  for (int64_t atom = 0; request.weights && atom < request.n_atoms; ++atom)
    if (!(request.weights[atom] >= 0 && std::isfinite(request.weights[atom])))
      invalid("weights[", atom, "] is ", request.weights[atom], "; weights must be finite and not negative");
}

int threads_for(const Request& request) {
  const int wanted = request.n_threads > 0 ? request.n_threads : available_threads();
  return static_cast<int>(std::min<int64_t>(wanted, 1 + request.n_atoms / atoms_per_thread));
}

Decomposition with_terms(const Request& request) {
  Decomposition result;
  static_cast<Terms&>(result) = request;
  if (request.here.end == 0) result.here = {0, request.n_partitions};
  result.reference.assign(request.positions, request.positions + 3 * request.n_atoms);
  return result;
}

/// Numbers the different wraps: nearly always there are few, and most atoms have the one of the atom before.
void number_wraps(const int32_t* wrap, Decomposition& result) {
  std::map<std::array<int32_t, 3>, int32_t> number;
  result.wrap_index.resize(result.n_atoms);
  std::array<int32_t, 3> last{};
  for (int64_t atom = 0; atom < result.n_atoms; ++atom) {
    const std::array<int32_t, 3> wrapped{wrap[3 * atom], wrap[3 * atom + 1], wrap[3 * atom + 2]};
    if (atom > 0 && wrapped == last) {
      result.wrap_index[atom] = result.wrap_index[atom - 1];
      continue;
    }
    const auto [entry, is_new] = number.try_emplace(wrapped, static_cast<int32_t>(number.size()));
    if (is_new) result.wraps.insert(result.wraps.end(), wrapped.begin(), wrapped.end());
    result.wrap_index[atom] = entry->second;
    last = wrapped;
  }
}

/// Of so many atoms next to each other, one is counted the neighbours of: as few as give every partition a
/// good mean. Bin populations alone would misjudge crystals by 10 %: they depend on how many layers happen to
/// fall into a bin.
int64_t atoms_per_sample(int64_t n_atoms, int32_t n_partitions) {
  constexpr int64_t samples_per_partition = 256;
  return std::clamp<int64_t>(n_atoms / n_partitions / samples_per_partition, 4, 64);
}

/// Number of edges of each ordinal, itself counted as one: nearly exact, at a fraction of the search.
Buffer<float> estimated_weights(const neighbors::Bins& bins, const neighbors::EdgeRule& rule,
                                int32_t n_partitions, int n_threads) {
  Buffer<float> weights(bins.n_atoms());
  constexpr int64_t samples_per_task = 500;
  const int64_t group = atoms_per_sample(bins.n_atoms(), n_partitions);
  const int64_t n_samples = (bins.n_atoms() + group - 1) / group;
  const int64_t n_tasks = (n_samples + samples_per_task - 1) / samples_per_task;
  parallel_for(n_tasks, n_threads, [&](int64_t task, int) {
    neighbors::NeighborSearch search(bins, rule);
    neighbors::NeighborRows row;
    const int64_t end = std::min(n_samples, (task + 1) * samples_per_task);
    for (int64_t sample = task * samples_per_task; sample < end; ++sample) {
      const int64_t first = sample * group;
      const int64_t last = std::min(bins.n_atoms(), first + group);
      const auto middle = static_cast<int32_t>((first + last) / 2);
      row.row_begin = {0};
      neighbors::append_rows(search, &middle, 1, row);
      std::fill(weights.begin() + first, weights.begin() + last,
                static_cast<float>(1 + row.row_begin.back()));
    }
  });
  return weights;
}

/// Only ratios matter: the largest becomes one, so that all fit into float32.
Buffer<float> given_weights(const neighbors::Bins& bins, const double* weights) {
  Buffer<float> by_ordinal(bins.n_atoms());
  const double largest = *std::max_element(weights, weights + bins.n_atoms());
  for (int64_t ordinal = 0; ordinal < bins.n_atoms(); ++ordinal)
    by_ordinal[ordinal] = largest > 0 ? static_cast<float>(weights[bins.order[ordinal]] / largest) : 0.0f;
  return by_ordinal;
}

/// Neighbours of the atoms of a request.
struct Search {
  Search(const Request& request, int n_threads)
      : wrapped(
            neighbors::wrap(request.cell, request.positions, request.n_atoms, radius(request), n_threads)),
        bins(neighbors::sort_into_bins(request.cell, wrapped, radius(request), n_threads)),
        rule(request.cell, request.positions, wrapped, bins,
             squared_limit_of_candidates(radius(request), wrapped.farthest)) {}
  Search(const Search&) = delete;
  Search& operator=(const Search&) = delete;

  static double radius(const Request& request) { return request.cutoff + request.skin; }

  neighbors::Wrapped wrapped;
  neighbors::Bins bins;
  neighbors::EdgeRule rule;
};

/// Owners by ordinal.
cut::Cut choose_owners(const Request& request, const Search& search, int n_threads) {
  const neighbors::Bins& bins = search.bins;
  const int64_t n_atoms = bins.n_atoms();
  if (request.n_partitions == 1 || n_atoms == 0) {
    const bool is_open = request.method == cut::Method::automatic;
    return {Buffer<int32_t>(n_atoms, 0), is_open ? cut::Method::slab : request.method};
  }
  const auto weights = request.weights
                           ? given_weights(bins, request.weights)
                           : estimated_weights(bins, search.rule, request.n_partitions, n_threads);
  std::array<Buffer<float>, 3> places;
  const std::array<const float*, 3> of_slot{bins.x.data(), bins.y.data(), bins.z.data()};
  for (int k = 0; k < 3; ++k) {
    places[k].resize(n_atoms);
    for (int64_t ordinal = 0; ordinal < n_atoms; ++ordinal)
      places[k][ordinal] = of_slot[k][bins.slot[ordinal]];
  }
  return cut::make_cut({request.cell, n_atoms, places[0].data(), places[1].data(), places[2].data(),
                        weights.data(), request.cutoff, n_threads},
                       request.n_partitions, request.method);
}

/// Ordinals by partition, ascending: those of partition p are [begin[p], begin[p + 1]).
struct OwnedOrdinals {
  std::vector<int64_t> begin;
  Buffer<int32_t> ordinals;
};

OwnedOrdinals sort_by_owner(const Buffer<int32_t>& owner, int32_t n_partitions) {
  OwnedOrdinals owned{std::vector<int64_t>(n_partitions + 1, 0), Buffer<int32_t>(owner.size())};
  for (const int32_t p : owner) ++owned.begin[p + 1];
  std::partial_sum(owned.begin.begin(), owned.begin.end(), owned.begin.begin());
  std::vector<int64_t> next(owned.begin.begin(), owned.begin.end() - 1);
  for (size_t ordinal = 0; ordinal < owner.size(); ++ordinal)
    owned.ordinals[next[owner[ordinal]]++] = static_cast<int32_t>(ordinal);
  return owned;
}

/// Partitions in parallel, or, if there are fewer of them than threads, each in parallel.
void build_on_host(const GraphInput& input, const Snapshot& reference, int n_threads,
                   const std::vector<char>& elsewhere, Decomposition& result) {
  const OwnedOrdinals owned = sort_by_owner(input.owner, result.n_partitions);
  const int at_once = result.here.end - result.here.begin < n_threads ? 1 : n_threads;
  std::vector<Buffer<int32_t>> local_rows(at_once);
  parallel_for(result.n_partitions, at_once, [&](int64_t p, int thread) {
    if (elsewhere[p]) return;
    auto& local_row = local_rows[thread];
    if (local_row.empty()) local_row.assign(result.n_atoms, -1);
    const auto partition = static_cast<int32_t>(p);
    const int64_t n_owned = result.here.has(partition) ? owned.begin[p + 1] - owned.begin[p] : 0;
    LocalCandidates& part = result.parts[p];
    part = build_candidates(input, owned.ordinals.data() + owned.begin[p], n_owned, local_row,
                            n_threads / at_once);
    if (result.has_bonds()) fill_cut_candidates(result, partition, border_candidates(reference, part), part);
  });
}

void build_parts(const Request& request, const GraphInput& input, int n_threads, Decomposition& result) {
  result.parts.resize(result.n_partitions);
  const Snapshot reference(result, result.reference.data(), result.cell);
  std::vector<char> on_device(result.n_partitions, false);
  std::vector<DeviceShare> shares = request.devices;
  for (DeviceShare& share : shares) {
    std::erase_if(share.partitions, [&](int32_t p) { return !result.here.has(p); });
    for (const int32_t p : share.partitions) on_device[p] = true;
  }
  const auto n_devices = std::ssize(shares);
  parallel_for(n_devices, static_cast<int>(n_devices), [&](int64_t d, int) {
    shares[d].run([&](kernels::DeviceKernels& kernels) {
      build_on_device(kernels, reference, shares[d].partitions, result.parts);
    });
  });
  build_on_host(input, reference, n_threads, on_device, result);
}

}  // namespace

double squared_limit_of_candidates(double radius, double farthest) {
  const double reach = radius * (1 + 1e-12) + std::ldexp(farthest, -48);
  return reach * reach;
}

cut::Cut cut_atoms(const Request& request) {
  check(request);
  check_partitions(request);
  const int n_threads = threads_for(request);
  const Search search(request, n_threads);
  cut::Cut by_ordinal = choose_owners(request, search, n_threads);
  cut::Cut by_atom{Buffer<int32_t>(request.n_atoms), by_ordinal.method};
  for (int64_t ordinal = 0; ordinal < request.n_atoms; ++ordinal)
    by_atom.owner[search.bins.order[ordinal]] = by_ordinal.owner[ordinal];
  return by_atom;
}

Decomposition decompose(const Request& request) {
  check(request);
  check_partitions(request);
  Decomposition result = with_terms(request);
  const int n_threads = threads_for(request);
  const Search search(request, n_threads);
  const auto& order = search.bins.order;
  result.shifts = search.bins.shifts;
  number_wraps(search.wrapped.counts.data(), result);
  Buffer<int32_t> owner(request.n_atoms);  // by ordinal
  result.owner.resize(request.n_atoms);
  if (request.shared) {
    result.method = request.shared->method;
    std::copy(request.shared->owner.begin(), request.shared->owner.end(), result.owner.begin());
    for (int64_t ordinal = 0; ordinal < request.n_atoms; ++ordinal)
      owner[ordinal] = result.owner[order[ordinal]];
  } else {
    cut::Cut cut = choose_owners(request, search, n_threads);
    owner = std::move(cut.owner);
    result.method = cut.method;
    for (int64_t ordinal = 0; ordinal < request.n_atoms; ++ordinal)
      result.owner[order[ordinal]] = owner[ordinal];
  }
  build_parts(request, {search.bins, search.rule, owner}, n_threads, result);
  fill_send_lists(result.n_atoms, result.here, result.parts);
  return result;
}

}  // namespace distmlip::partition
