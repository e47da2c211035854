// Rows that partitions of different processes exchange: how both sides number them.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "exchange/group.h"
#include "exchange/routes.h"
#include "partition/decomposition.h"

namespace distmlip::exchange {

/// The partitions of other processes: which are whose, and how to reach them.
struct Others {
  std::shared_ptr<RankGroup> ranks;
  /// Partitions [begin[r], begin[r + 1]) are rank r's.
  std::vector<int32_t> begin;

  int32_t rank_of(int32_t partition) const;
  bool has(int32_t partition) const { return rank_of(partition) != ranks->rank(); }
};

/// A new int64 tensor.
at::Tensor index_tensor(const std::vector<int64_t>& values, at::Device device);

/// Where the packed rows of a partition begin among those of all partitions here.
using FirstRow = std::function<int64_t(int32_t partition)>;

/// The atoms of other processes that this one reads, each once, by rank.
class RemoteAtoms {
 public:
  /// Asks the others for these atoms, and learns what they ask for; every rank does so at the same time.
  /// `device`: where messages are made. Decomposition and others must outlive it.
  RemoteAtoms(const partition::Decomposition& decomposition, const Others& others, at::Device device);

  /// Of an atom of another process, among the rows that are received.
  int32_t row(int32_t atom) const { return row_[atom]; }

  /// The atoms here that others read, by rank.
  const std::vector<int64_t>& asked() const { return asked_; }

  /// `pool_row`: of an atom here.
  Routes::Peers peers(at::Device device, const std::function<int64_t(int64_t atom)>& pool_row) const;

  /// Of rows (n_atoms, width) on the host, those of atoms of other processes that are read here become what
  /// their owners have; every rank does so at the same time.
  void bring(double* rows, int64_t width) const;
  /// The adjoint: they are added to their owners' and become zero.
  void give_back(double* rows, int64_t width) const;

 private:
  void number(int32_t rank);
  std::vector<double> exchanged(const double* rows, int64_t width, bool backwards) const;

  const partition::Decomposition& decomposition_;
  const Others& others_;
  std::vector<int32_t> row_;                           // of each atom; -1: not read
  std::vector<int64_t> wanted_, asked_;                // atoms, by rank
  std::vector<int64_t> receive_counts_, send_counts_;  // of each rank
};

/// The cut bonds across borders with other processes. Nobody has to ask: both sides list the bonds of a
/// border in the same order, and every process sends those of its first partition first.
class RemoteBonds {
 public:
  RemoteBonds(const std::vector<partition::StepGraph>& graphs, const Others& others);

  /// Where the copies that a partition there has for one here begin among the rows that are received.
  int32_t first(int32_t there, int32_t here) const { return first_.at({there, here}); }

  Routes::Peers peers(at::Device device, const FirstRow& first_row) const;

 private:
  /// Rows [begin, end) of a partition here have copies in a partition there.
  struct Border {
    int32_t here, there;
    int32_t begin, end;
  };

  std::vector<Border> sent_;     // by rank
  std::vector<int64_t> counts_;  // bonds, of each rank
  std::map<std::pair<int32_t, int32_t>, int32_t> first_;
  int32_t n_received_ = 0;
};

}  // namespace distmlip::exchange
