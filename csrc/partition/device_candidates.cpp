#include "partition/device_candidates.h"

namespace distmlip::partition {
namespace {

/// Candidates at the reference positions.
class DeviceBorders {
 public:
  DeviceBorders(kernels::DeviceKernels& kernels, const Snapshot& reference, const double* positions)
      : kernels_(kernels),
        reference_(reference),
        positions_(positions),
        tables_(kernels, reference.decomposition()),
        cell_(kernels.copy_of(reference.shifts().cell, 9)),
        vectors_(kernels.copy_of(reference.shifts().vectors, 4 * reference.decomposition().n_codes())) {}

  std::vector<kernels::BorderCandidate> of(const LocalCandidates& graph) const {
    const auto atoms = kernels_.copy_of(graph.atoms());
    const auto rows = kernels_.array<kernels::LocalAtom>(atoms.size);
    kernels_.gather_atoms(atoms.size, atoms.data(), positions_, tables_.wrap_index.data(), rows.data());
    const double reach = reach_of_bonds(reference_.decomposition());
    const kernels::LocalRows& found = *graph.on_device;
    return kernels_.copy_of(
        kernels_.border_candidates({found.candidates(), found.n_owned(), found.n_candidates(), rows.data(),
                                    tables_.at(cell_.data(), vectors_.data()),
                                    /*limit=*/0.0, reach * reach}));
  }

 private:
  kernels::DeviceKernels& kernels_;
  const Snapshot& reference_;
  const double* positions_;
  DeviceTables tables_;
  kernels::Array<double> cell_, vectors_;
};

}  // namespace

DeviceSearch::DeviceSearch(kernels::DeviceKernels& kernels, const Cell& cell, const double* positions,
                           int64_t n_atoms, double radius)
    : kernels_(kernels),
      atoms_(neighbors::sort_on_device(kernels, cell, positions, n_atoms, radius)),
      rule_{positions, atoms_.wrapped.counts.data(), squared_limit_of_candidates(radius, atoms_.farthest)} {}

kernels::LocalRows DeviceSearch::rows(const kernels::LocalRequest& request) const {
  return kernels_.local_rows(atoms_.sorted, rule_, request);
}

DeviceTables::DeviceTables(kernels::DeviceKernels& kernels, const Decomposition& decomposition)
    : wrap_index(kernels.copy_of(decomposition.wrap_index)),
      shifts(kernels.copy_of(decomposition.shifts)),
      wraps(kernels.copy_of(decomposition.wraps)) {}

void build_on_device(kernels::DeviceKernels& kernels, const Snapshot& reference,
                     const std::vector<int32_t>& partitions, std::vector<LocalCandidates>& parts) {
  const Decomposition& decomposition = reference.decomposition();
  const auto positions = kernels.copy_of(decomposition.reference);
  const auto owner = kernels.copy_of(decomposition.owner);
  const DeviceSearch search(kernels, decomposition.cell, positions.data(), decomposition.n_atoms,
                            decomposition.cutoff + decomposition.skin);
  for (const int32_t p : partitions) {
    LocalCandidates& graph = parts[p];
    graph.on_device = std::make_shared<const kernels::LocalRows>(
        search.rows({owner.data(), decomposition.n_partitions, p}));
    graph.owned = kernels.copy_of(graph.on_device->owned);
    graph.halo = kernels.copy_of(graph.on_device->halo);
    for (const int32_t atom : graph.halo) graph.halo_groups.append(decomposition.owner[atom], 1);
  }
  if (!decomposition.has_bonds()) return;
  const DeviceBorders borders(kernels, reference, positions.data());
  for (const int32_t p : partitions) fill_cut_candidates(decomposition, p, borders.of(parts[p]), parts[p]);
}

}  // namespace distmlip::partition
