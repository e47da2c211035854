// A system that no process knows as a whole: what one of them knows of it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "exchange/remote_rows.h"
#include "partition/decomposition.h"

namespace distmlip::executor {

/// Where the atoms are; pointers to (n_atoms, 3) Å and (n_atoms).
struct Structure {
  int64_t n_atoms = 0;
  const double* positions = nullptr;
  const int64_t* numbers = nullptr;
  Cell cell;
};

/// Does the work in every process or in none, and returns the sum of what it gave. Without processes that
/// share partitions it is empty: the work is only done.
using Agree = std::function<int64_t(const std::function<int64_t()>& work)>;

int64_t in_agreement(const Agree& agree, const std::function<int64_t()>& work);

/// Tags of the atoms of a structure, and of those that may be near them; repeated ones and the structure's
/// own do no harm.
struct Tags {
  std::span<const int64_t> own, near;
};

/// The atoms that this process owns, and those of other processes near them.
class SharedSystem {
 public:
  /// Every rank makes one at the same time. `cut`: but for positions, atoms and cell.
  /// Throws std::invalid_argument, in every process, if nobody has an atom that is near.
  SharedSystem(const Structure& own, const Tags& tags, const partition::Request& cut,
               const exchange::Others& others, const Agree& agree);

  /// At other positions of the same atoms. Every rank does so at the same time.
  void move(const Structure& own, const exchange::RemoteAtoms& remote);

  Structure structure() const;
  int64_t n_own() const { return atoms_->n_own; }
  std::shared_ptr<const partition::SharedAtoms> atoms() const { return atoms_; }

 private:
  std::shared_ptr<partition::SharedAtoms> atoms_ = std::make_shared<partition::SharedAtoms>();
  Cell cell_;
  std::vector<double> positions_;  // (n_atoms, 3)
  std::vector<int64_t> numbers_;   // (n_atoms)
};

}  // namespace distmlip::executor
