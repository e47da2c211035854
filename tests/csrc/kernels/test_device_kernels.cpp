// The algorithms for devices on awkward systems, by the back end for the CPU and by that for CUDA on emulated
// warps: both must give the same to the last bit. What is right, the Python tests know; here it is found out
// whether memory is used as it should be, and whether lanes of a warp part or read what is not there yet.
#include <cstdio>
#include <functional>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "found.h"
#include "kernels/device/kernels_on.h"
#include "kernels/device/parallel_cuda.h"
#include "kernels/device/parallel_host.h"
#include "neighbors/device_neighbor_list.h"
#include "partition/device_candidates.h"

namespace distmlip::kernels {

void Cuda::sum_before(const int32_t* counts, int64_t n, int64_t* begin) const {
  emulated::work().launches += 2;  // as cub does
  Host(device_).sum_before(counts, n, begin);
}
void Cuda::sort(Array<uint32_t>& keys, Array<int32_t>& values, uint32_t end) const {
  Host(device_).sort(keys, values, end);
}

}  // namespace distmlip::kernels

using namespace distmlip;
using test::Found;
using test::poisoned;

namespace {

struct System {
  std::string name;
  Cell cell;
  std::vector<double> positions;  // (n_atoms, 3)
  double cutoff;

  int64_t n_atoms() const { return static_cast<int64_t>(positions.size()) / 3; }
};

std::vector<double> scattered(const Cell& cell, int64_t n_atoms, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<double> uniform(-1, 2);  // inside and outside
  std::vector<double> positions(3 * n_atoms);
  for (int64_t k = 0; k < 3 * n_atoms; k += 3) {
    for (int axis = 0; axis < 3; ++axis) {
      const Vec3 vector = scaled(cell.row(axis), uniform(random));
      for (int x = 0; x < 3; ++x) positions[k + x] += vector[x];
    }
  }
  return positions;
}

std::vector<System> systems() {
  constexpr std::array<bool, 3> all{true, true, true}, slab{true, true, false}, none{};
  const Cell cube{{9, 0, 0, 0, 9, 0, 0, 0, 9}, all}, tiny{{1.1, 0, 0.1, 0, 0.9, 0, 0.2, 0, 1}, all};
  const Cell skewed{{3.1, 0.2, 0, 25.1, 14, 0.3, -0.4, 0.2, 5}, slab},
      open{{4, 0, 0, 0, 4, 0, 0, 0, 4}, none};
  const Cell vacuum{{300, 0, 0, 0, 6, 0, 0, 0, 6}, all}, far{{1e7, 0, 0, 0, 1e7, 0, 0, 0, 1e7}, none};
  std::vector<double> line;
  for (int k = 0; k < 40; ++k) line.insert(line.end(), {280.0 + k, 1.0, 2.0});
  return {{"no atoms", cube, {}, 3.0},
          {"one atom", tiny, {0, 0, 0}, 4.0},
          {"one spot", cube, std::vector<double>(60, 7.5), 2.0},
          {"cube", cube, scattered(cube, 200, 1), 3.0},
          {"tiny", tiny, scattered(tiny, 5, 2), 3.0},
          {"skewed", skewed, scattered(skewed, 60, 3), 4.0},
          {"open", open, scattered(open, 90, 4), 5.0},
          {"dense", open, scattered(open, 400, 5), 20.0},
          {"across vacuum", vacuum, line, 2.5},
          {"sparse", far, scattered(far, 30, 6), 4.0}};
}

void find_pairs(const System& system, kernels::DeviceKernels& kernels, Found& found) {
  for (const bool self_interaction : {false, true}) {
    const neighbors::DeviceNeighborList list(kernels, system.positions.data(), system.n_atoms(), system.cell,
                                             system.cutoff, self_interaction);
    const int64_t n = list.n_pairs();
    std::vector<int64_t> i(n), j(n);
    std::vector<double> distance(n), vector(3 * n);
    std::vector<int32_t> shift(3 * n), sender(n);
    std::vector<uint16_t> code(n);
    list.write(kernels::PairArrays<double>{i.data(), j.data(), distance.data(), vector.data(), shift.data(),
                                           sender.data(), code.data()});
    const auto add = [&](const auto&... arrays) { (found.add(arrays.data(), arrays.size()), ...); };
    add(i, j, distance, vector, shift, sender, code);
  }
}

const std::vector<kernels::BorderCandidate> no_border;

/// What a partition costs the host in every step, beside gathering its atoms, an array of zeros for the
/// forces and waiting for them: together at most 10 launches and 2 waits, with bonds 30 and 3.
void require_little_work(const emulated::Work& before, bool bonds) {
  const int launches = emulated::work().launches - before.launches;
  const int waits = emulated::work().waits - before.waits;
  if (launches > (bonds ? 28 : 8) || waits > (bonds ? 2 : 1)) {
    throw std::logic_error(std::to_string(launches) + " launches and " + std::to_string(waits) +
                           " waits for one partition");
  }
}

void find_bonds(const kernels::BondRows& rows, const kernels::StepEdges& edges,
                const std::vector<int32_t>& short_edge, const std::vector<int32_t>& edge_of,
                const std::vector<kernels::BorderCandidate>& border, kernels::DeviceKernels& kernels,
                Found& found) {
  std::vector<int64_t> edge_bond(edges.n_edges), bond_edge(edges.n_edges), short_bond(edges.n_short);
  std::vector<int64_t> angle_begin(rows.n_rows + 1);
  std::vector<int32_t> cut_candidate;
  for (const auto& bond : border) cut_candidate.insert(cut_candidate.end(), {bond.row, bond.candidate});
  const auto n_cut = std::ssize(border);
  const std::vector<int32_t> bounds{0, static_cast<int32_t>(n_cut / 2), static_cast<int32_t>(n_cut)};
  std::vector<int64_t> cut(n_cut);
  const kernels::BondSizes sizes = kernels.number_bonds(
      {rows, edges.n_edges, edges.n_short, edges.short_begin.data(), short_edge.data(), edge_of.data(), n_cut,
       cut_candidate.data(), std::ssize(bounds), bounds.data()},
      {edge_bond.data(), bond_edge.data(), short_bond.data(), cut.data(), angle_begin.data()});
  bond_edge.resize(sizes.n_bonds);
  short_bond.resize(sizes.n_short_bonds);
  cut.resize(sizes.cut_before.back());
  std::vector<int64_t> angles(2 * sizes.n_angles);
  kernels.expand_angles(rows.n_rows, edges.short_begin.data(), short_edge.data(), angle_begin.data(),
                        angles.data());
  const auto add = [&](const auto&... arrays) { (found.add(arrays.data(), arrays.size()), ...); };
  add(edge_bond, bond_edge, short_bond, cut, sizes.cut_before, angles);
}

/// Edges, bonds, angles and forces of one partition, all atoms where they were given.
template <class Real>
void take_step(const System& system, kernels::DeviceKernels& kernels, const kernels::LocalRows& rows,
               const std::vector<int32_t>& shifts, bool bonds, Found& found) {
  const auto n_codes = static_cast<int64_t>(shifts.size()) / 3;
  std::vector<double> vectors(4 * n_codes);
  for (int64_t code = 0; code < n_codes; ++code) {
    const Vec3 vector = shift_vector(system.cell, shifts.data() + 3 * code);
    std::copy_n(vector.data(), 3, vectors.data() + 4 * code);
  }
  const int32_t no_wrap[3] = {0, 0, 0};
  const std::vector<int32_t> wrap_index(system.n_atoms(), 0);
  std::vector<int32_t> atoms(rows.owned.data(), rows.owned.data() + rows.owned.size);
  atoms.insert(atoms.end(), rows.halo.data(), rows.halo.data() + rows.halo.size);
  std::vector<kernels::LocalAtom> local(atoms.size());
  kernels.gather_atoms(rows.n_local(), atoms.data(), system.positions.data(), wrap_index.data(),
                       local.data());
  kernels::FilterRequest request{{rows.row_begin.data(), rows.sender.data(), rows.shift_code.data()},
                                 rows.n_owned(),
                                 rows.n_candidates(),
                                 local.data(),
                                 {system.cell.vectors.data(), shifts.data(), vectors.data(), no_wrap},
                                 system.cutoff * system.cutoff * 0.9,
                                 bonds ? system.cutoff * system.cutoff * 0.1 : 0.0};
  const auto border = bonds ? kernels.copy_of(kernels.border_candidates(request)) : no_border;
  const kernels::SenderRows sent = kernels.sort_by_sender(rows);
  const emulated::Work before = emulated::work();
  const kernels::StepEdges edges = kernels.filter_edges(request);
  std::vector<int64_t> senders(edges.n_edges), receivers(edges.n_edges);
  std::vector<Real> edge_vectors(3 * edges.n_edges);
  std::vector<int32_t> candidate(edges.n_edges), short_edge(edges.n_short), edge_of(rows.n_candidates());
  kernels.write_edges(
      request, edges,
      kernels::EdgeOutput<Real>{senders.data(), receivers.data(), edge_vectors.data(), edge_of.data(),
                                bonds ? candidate.data() : nullptr, bonds ? short_edge.data() : nullptr});
  if (bonds) {
    find_bonds({rows.n_owned(), edges.row_begin.data(), senders.data(), candidate.data(),
                rows.shift_code.data(), n_codes},
               edges, short_edge, edge_of, border, kernels, found);
  }
  std::vector<int32_t> sum_of(rows.n_local());
  std::iota(sum_of.rbegin(), sum_of.rend(), 0);
  std::vector<double> forces(4 * rows.n_local()), virials(12 * rows.n_local()), virial(12);
  kernels.sum_forces(
      kernels::EdgeGradients<Real>{rows.n_owned(), edges.row_begin.data(), senders.data(),
                                   edge_vectors.data(), edge_vectors.data()},
      {rows.n_local(), sent.row_begin.data(), sent.candidate.data(), edge_of.data(), sum_of.data()},
      {forces.data(), virial.data(), virials.data()});
  require_little_work(before, bonds);
  const auto add = [&](const auto&... arrays) { (found.add(arrays.data(), arrays.size()), ...); };
  add(senders, receivers, edge_vectors, candidate, short_edge, edge_of, forces, virials, virial);
}

/// The graphs of three partitions, and a step of each. Edges and bonds are those of atoms in the cell.
void find_graphs(const System& given, kernels::DeviceKernels& kernels, Found& found) {
  System system = given;
  const auto atoms =
      neighbors::sort_on_device(kernels, given.cell, given.positions.data(), given.n_atoms(), given.cutoff);
  std::copy_n(atoms.wrapped.positions.data(), atoms.wrapped.positions.size, system.positions.data());
  std::vector<int32_t> owner;
  for (int64_t atom = 0; atom < system.n_atoms(); ++atom) owner.push_back(static_cast<int32_t>(atom % 7 % 3));
  const partition::DeviceSearch search(kernels, system.cell, system.positions.data(), system.n_atoms(),
                                       system.cutoff);
  for (int32_t partition = 0; partition < 3; ++partition) {
    const kernels::LocalRows rows = search.rows({owner.data(), 3, partition});
    found.add(rows.owned);
    found.add(rows.halo);
    found.add(rows.row_begin);
    found.add(rows.sender);
    found.add(rows.shift_code);
    for (const bool bonds : {false, true}) {
      take_step<float>(system, kernels, rows, search.atoms().shifts, bonds, found);
      take_step<double>(system, kernels, rows, search.atoms().shifts, bonds, found);
    }
  }
}

void check(const System& system) {
  kernels::Device device;
  device.allocate = poisoned;
  const auto host = kernels::host_kernels(device);
  kernels::KernelsOn<kernels::Cuda> cuda(device);
  for (const auto& find : {find_pairs, find_graphs}) {
    Found expected, found;
    find(system, *host, expected);
    find(system, cuda, found);
    if (!(found == expected))
      throw std::logic_error(system.name + ": CUDA gives something else than the CPU");
  }
}

}  // namespace

int main() {
  try {
    for (const System& system : systems()) check(system);
  } catch (const std::exception& error) {
    std::puts(error.what());
    return 1;
  }
  std::puts("passed");
  return 0;
}
