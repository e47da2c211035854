#include "executor/shared_system.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <iterator>
#include <tuple>
#include <utility>

#include "core/error.h"
#include "exchange/owners.h"

namespace distmlip::executor {
namespace {

std::vector<int64_t> sorted(std::span<const int64_t> tags) {
  std::vector<int64_t> result(tags.begin(), tags.end());
  std::sort(result.begin(), result.end());
  return result;
}

/// Those that are near and somebody else's, each once.
std::vector<int64_t> tags_of_others(const Tags& tags) {
  const std::vector<int64_t> own = sorted(tags.own);
  std::vector<int64_t> near = sorted(tags.near), others;
  near.erase(std::unique(near.begin(), near.end()), near.end());
  std::set_difference(near.begin(), near.end(), own.begin(), own.end(), std::back_inserter(others));
  return others;
}

/// Partitions of the atoms of this process, and how they were cut.
std::pair<std::vector<int32_t>, cut::Method> cut_own(const Structure& own, partition::Request request) {
  const auto [first, end] = request.here;
  request.n_atoms = own.n_atoms;
  request.positions = own.positions;
  request.cell = own.cell;
  request.n_partitions = end - first;
  request.here = {};
  request.n_threads = at::get_num_threads();
  const cut::Cut cut = partition::cut_atoms(request);
  std::vector<int32_t> owner;
  for (const int32_t partition : cut.owner) owner.push_back(first + partition);
  return {std::move(owner), cut.method};
}

constexpr int64_t place_width = 4;  ///< of a row: position and number

void write_place(const Structure& of, int64_t atom, double* to) {
  std::copy_n(of.positions + 3 * atom, 3, to);
  to[3] = static_cast<double>(of.numbers[atom]);
}

}  // namespace

int64_t in_agreement(const Agree& agree, const std::function<int64_t()>& work) {
  return agree ? agree(work) : work();
}

SharedSystem::SharedSystem(const Structure& own, const Tags& tags, const partition::Request& cut,
                           const exchange::Others& others, const Agree& agree)
    : cell_(own.cell),
      positions_(own.positions, own.positions + 3 * own.n_atoms),
      numbers_(own.numbers, own.numbers + own.n_atoms) {
  partition::SharedAtoms& atoms = *atoms_;
  atoms.n_own = own.n_atoms;
  atoms.tags.assign(tags.own.begin(), tags.own.end());
  for (int64_t atom = 0; atom < own.n_atoms; ++atom) atoms.rows.push_back(atom);
  const std::vector<int64_t> wanted = tags_of_others(tags);
  const exchange::Owners owners = exchange::find_owners(*others.ranks, tags.own, wanted);
  in_agreement(agree, [&] {
    const auto lost = std::find(owners.ranks.begin(), owners.ranks.end(), -1);
    if (lost != owners.ranks.end())
      invalid("atom ", wanted[lost - owners.ranks.begin()], " is near atoms of rank ", others.ranks->rank(),
              ", but no rank owns it");
    std::tie(atoms.owner, atoms.method) = cut_own(own, cut);
    return 0;
  });
  constexpr int64_t width = place_width + 1;
  const std::vector<double> places =
      exchange::ask_owners(*others.ranks, owners, width, [&](int64_t row, double* to) {
        write_place(own, row, to);
        to[place_width] = atoms.owner[row];
      });
  atoms.tags.insert(atoms.tags.end(), wanted.begin(), wanted.end());
  atoms.rows.insert(atoms.rows.end(), owners.rows.begin(), owners.rows.end());
  for (auto place = places.begin(); place != places.end(); place += width) {
    positions_.insert(positions_.end(), place, place + 3);
    numbers_.push_back(static_cast<int64_t>(place[3]));
    atoms.owner.push_back(static_cast<int32_t>(place[place_width]));
  }
}

void SharedSystem::move(const Structure& own, const exchange::RemoteAtoms& remote) {
  cell_ = own.cell;
  std::copy_n(own.positions, 3 * own.n_atoms, positions_.begin());
  std::copy_n(own.numbers, own.n_atoms, numbers_.begin());
  const auto n_atoms = std::ssize(numbers_);
  std::vector<double> places(static_cast<size_t>(place_width * n_atoms));
  for (int64_t atom = 0; atom < n_atoms; ++atom)
    write_place(structure(), atom, places.data() + place_width * atom);
  remote.bring(places.data(), place_width);
  for (int64_t atom = own.n_atoms; atom < n_atoms; ++atom) {
    std::copy_n(places.begin() + place_width * atom, 3, positions_.begin() + 3 * atom);
    numbers_[atom] = static_cast<int64_t>(places[place_width * atom + 3]);
  }
}

Structure SharedSystem::structure() const {
  return {std::ssize(numbers_), positions_.data(), numbers_.data(), cell_};
}

}  // namespace distmlip::executor
