// The graph of one partition in local rows: what partition/local_candidates.cpp does, on a device.
#pragma once

#include "core/error.h"
#include "kernels/device/edge_batches.h"
#include "kernels/device/find_neighbors.h"
#include "kernels/device/select.h"

namespace distmlip::kernels {

constexpr int64_t most_local_edges = std::numeric_limits<int32_t>::max();

/// Ordinals of the halo atoms, grouped by owner, in a group as they are first seen: first_edge is by ordinal,
/// and `most_local_edges` for atoms that are no halo.
template <class Backend>
Array<int32_t> group_halo(const Backend& backend, const int32_t* owner, int32_t n_partitions, int64_t n_atoms,
                          const int32_t* first_edge, int64_t n_edges) {
  Array<int32_t> halo = select(backend, n_atoms, [=] DISTMLIP_DEVICE(int64_t ordinal) {
    return first_edge[ordinal] != most_local_edges;
  });
  const auto sort_by = [&](const int32_t* key_of_ordinal, int64_t end) {
    auto keys = backend.template array<uint32_t>(halo.size);
    uint32_t* key = keys.data();
    const int32_t* ordinals = halo.data();
    backend.for_each(halo.size, [=] DISTMLIP_DEVICE(int64_t k) { key[k] = key_of_ordinal[ordinals[k]]; });
    backend.sort(keys, halo, static_cast<uint32_t>(end));
  };
  sort_by(first_edge, n_edges);
  sort_by(owner, n_partitions);
  return halo;
}

/// Turns the ordinals in `out` into atoms, and those of senders into local rows.
template <class Backend>
void number_rows(const Backend& backend, const SortedAtoms& sorted, LocalRows& out) {
  const auto row_array = backend.template array<int32_t>(sorted.n_atoms);
  int32_t *row_of_ordinal = row_array.data(), *owned = out.owned.data(), *halo = out.halo.data(),
          *senders = out.sender.data();
  const int32_t* order = sorted.order.data();
  const auto n_owned = static_cast<int32_t>(out.owned.size);
  const auto number = [&](int32_t* ordinals, int64_t n, int32_t first) {
    backend.for_each(n, [=] DISTMLIP_DEVICE(int64_t k) {
      row_of_ordinal[ordinals[k]] = first + static_cast<int32_t>(k);
      ordinals[k] = order[ordinals[k]];
    });
  };
  number(owned, out.owned.size, 0);
  number(halo, out.halo.size, n_owned);
  backend.for_each(out.sender.size,
                   [=] DISTMLIP_DEVICE(int64_t edge) { senders[edge] = row_of_ordinal[senders[edge]]; });
}

/// Writes senders as ordinals, and where each ordinal that is not owned is first seen.
template <class Backend>
void write_local_edges(const Backend& backend, const SortedAtoms& sorted, const EdgeMasks& found,
                       const int32_t* owner, int32_t partition, int32_t* first_edge, const LocalRows& out) {
  using Group = typename Backend::Group;
  using Batch = EdgeBatch<Backend>;
  const Point* points = sorted.points.data();
  const uint16_t* codes = sorted.shift_code.data();
  int32_t* senders = out.sender.data();
  uint16_t* out_codes = out.shift_code.data();
  backend.for_each(sorted.n_atoms, [=] DISTMLIP_DEVICE(int64_t ordinal) {
    first_edge[ordinal] = static_cast<int32_t>(most_local_edges);
  });
  for_each_batch<NoScratch>(backend, found,
                            [=] DISTMLIP_DEVICE(const Group& group, const Batch& batch, NoScratch&) {
                              group.each_lane([&](int lane) {
                                if (lane >= batch.count) return;
                                const int64_t edge = batch.first_edge + lane;
                                const int32_t slot = batch.slot[lane], ordinal = points[slot].ordinal;
                                senders[edge] = ordinal;
                                out_codes[edge] = codes[slot];
                                if (owner[ordinal] != partition)
                                  atomic_min(first_edge + ordinal, static_cast<int32_t>(edge));
                              });
                            });
}

template <class Backend>
LocalRows local_rows(const Backend& backend, const SortedAtoms& sorted, const EdgeRule& rule,
                     const LocalRequest& request) {
  const auto owner_array = backend.template array<int32_t>(sorted.n_atoms);
  int32_t* owner = owner_array.data();
  const int32_t *owner_of_atom = request.owner, *order = sorted.order.data(), partition = request.partition;
  backend.for_each(sorted.n_atoms,
                   [=] DISTMLIP_DEVICE(int64_t ordinal) { owner[ordinal] = owner_of_atom[order[ordinal]]; });
  LocalRows out;
  out.owned = select(backend, sorted.n_atoms,
                     [=] DISTMLIP_DEVICE(int64_t ordinal) { return owner[ordinal] == partition; });
  const EdgeMasks found = find_neighbors(backend, sorted, rule, out.owned.data(), out.owned.size);
  if (found.n_edges > most_local_edges) {
    invalid("a partition has ", found.n_edges, " edges; at most ", most_local_edges,
            " are supported: use more partitions or a smaller cutoff or skin");
  }
  out.row_begin = found.row_begin;
  out.sender = backend.template array<int32_t>(found.n_edges);
  out.shift_code = backend.template array<uint16_t>(found.n_edges);
  const auto first_edge = backend.template array<int32_t>(sorted.n_atoms);
  write_local_edges(backend, sorted, found, owner, partition, first_edge.data(), out);
  out.halo =
      group_halo(backend, owner, request.n_partitions, sorted.n_atoms, first_edge.data(), found.n_edges);
  number_rows(backend, sorted, out);
  return out;
}

}  // namespace distmlip::kernels
