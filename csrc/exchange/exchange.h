// The kinds of exchange that stages ask for (distmlip/models/exchanges.py says what each does), and their
// adjoints.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "exchange/rows.h"

namespace distmlip::exchange {

struct Crossing;

/// What crosses partitions under one name: begin(), then what is sent goes to the peers, then finish(). A
/// partition that receives nothing keeps its tensor, uncopied: nobody may write to what an exchange was
/// given, or to what it gave.
class Exchange : public std::enable_shared_from_this<Exchange> {
 public:
  /// `width`: shape of a row; of AllSum the whole shape.
  Exchange(std::string name, std::vector<int64_t> width) : name_(std::move(name)), width_(std::move(width)) {}
  virtual ~Exchange() = default;

  const std::string& name() const { return name_; }  ///< of the tensor
  const std::vector<int64_t>& width() const { return width_; }

  /// Shape of what partition p gives; what it gets has that of what it gives to the adjoint.
  virtual std::vector<int64_t> shape(const Crossing& at, size_t p) const = 0;
  /// What a partition that has nothing takes part with.
  at::Tensor zeros(const Crossing& at, size_t p) const;
  /// How many rows all partitions here together receive.
  virtual int64_t received(const Crossing& at) const = 0;
  /// Itself, unless a kind says otherwise.
  virtual std::shared_ptr<const Exchange> adjoint() const { return shared_from_this(); }

  virtual std::vector<Parcel> begin(const Crossing& at, const PerPartition& x) const = 0;
  virtual PerPartition finish(const Crossing& at, PerPartition x, std::vector<Parcel> parcels) const = 0;

 private:
  std::string name_;
  std::vector<int64_t> width_;
};

using Exchanges = std::vector<std::shared_ptr<const Exchange>>;

/// Owned rows become owned rows and halo rows, which come from their owners.
class Halo : public Exchange {
 public:
  using Exchange::Exchange;
  std::vector<int64_t> shape(const Crossing& at, size_t p) const override;
  int64_t received(const Crossing& at) const override;
  std::shared_ptr<const Exchange> adjoint() const override;
  std::vector<Parcel> begin(const Crossing& at, const PerPartition& x) const override;
  PerPartition finish(const Crossing& at, PerPartition x, std::vector<Parcel> parcels) const override;
};

/// The adjoint of Halo: halo rows are added to their owners'. Received is each row that others read, once.
class Fold : public Exchange {
 public:
  using Exchange::Exchange;
  std::vector<int64_t> shape(const Crossing& at, size_t p) const override;
  int64_t received(const Crossing& at) const override;
  std::shared_ptr<const Exchange> adjoint() const override;
  std::vector<Parcel> begin(const Crossing& at, const PerPartition& y) const override;
  PerPartition finish(const Crossing& at, PerPartition y, std::vector<Parcel> parcels) const override;
};

/// Of rows per bond, both copies of a cut one become their sum. Its own adjoint.
class Add : public Exchange {
 public:
  using Exchange::Exchange;
  std::vector<int64_t> shape(const Crossing& at, size_t p) const override;
  int64_t received(const Crossing& at) const override;
  std::vector<Parcel> begin(const Crossing& at, const PerPartition& x) const override;
  PerPartition finish(const Crossing& at, PerPartition x, std::vector<Parcel> parcels) const override;
};

/// Of rows per cut bond, each becomes the other copy. Where a row reads from is where its copy is read, so
/// this is its own adjoint.
class Swap : public Exchange {
 public:
  using Exchange::Exchange;
  std::vector<int64_t> shape(const Crossing& at, size_t p) const override;
  int64_t received(const Crossing& at) const override;
  std::vector<Parcel> begin(const Crossing& at, const PerPartition& x) const override;
  PerPartition finish(const Crossing& at, PerPartition x, std::vector<Parcel> parcels) const override;
};

/// Tensors of one shape become their sum, in the order of partitions; of ranks, in the order of these. Its
/// own adjoint.
class AllSum : public Exchange {
 public:
  using Exchange::Exchange;
  std::vector<int64_t> shape(const Crossing& at, size_t p) const override;
  int64_t received(const Crossing& at) const override;
  std::vector<Parcel> begin(const Crossing& at, const PerPartition& x) const override;
  PerPartition finish(const Crossing& at, PerPartition x, std::vector<Parcel> parcels) const override;
};

}  // namespace distmlip::exchange
