#include "exchange/owners.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <unordered_map>
#include <utility>

namespace distmlip::exchange {
namespace {

/// Messages of some numbers for each entry, and where entries went.
template <class T>
class Letters {
 public:
  /// `rank_of(k)`: who gets entry k; negative: nobody.
  template <class RankOf>
  Letters(RankGroup& ranks, size_t n, RankOf rank_of) : ranks_(ranks), sent_(ranks.size()) {
    for (size_t k = 0; k < n; ++k)
      if (const int64_t rank = rank_of(k); rank >= 0) sent_[static_cast<size_t>(rank)].push_back(k);
  }

  /// Entry k says what `write(k, T*)` writes. Returns what came, and how many numbers from each rank.
  template <class Write>
  std::pair<std::vector<T>, std::vector<int64_t>> send(int64_t width, Write write) const {
    std::vector<int64_t> send_counts, receive_counts;
    const at::Tensor parcel = at::empty({n_sent() * width}, c10::CppTypeToScalarType<T>::value);
    T* to = parcel.mutable_data_ptr<T>();
    for (const auto& of_rank : sent_) {
      send_counts.push_back(std::ssize(of_rank) * width);
      for (const size_t k : of_rank) {
        write(k, to);
        to += width;
      }
    }
    const at::Tensor received = ranks_.all_to_all_unknown(parcel, send_counts, receive_counts);
    const T* from = received.const_data_ptr<T>();
    return {{from, from + received.numel()}, std::move(receive_counts)};
  }

  /// The answers, `width` numbers for each entry: `read(k, const T*)`. `given`: answers to what came here
  /// from each rank, so many numbers for it.
  template <class U, class Read>
  void answer(const std::vector<U>& given, const std::vector<int64_t>& counts, int64_t width,
              Read read) const {
    std::vector<int64_t> receive_counts;
    for (const auto& of_rank : sent_) receive_counts.push_back(std::ssize(of_rank) * width);
    const at::Tensor parcel = at::empty({std::ssize(given)}, c10::CppTypeToScalarType<U>::value);
    std::copy(given.begin(), given.end(), parcel.mutable_data_ptr<U>());
    const at::Tensor received = ranks_.all_to_all(parcel, counts, receive_counts);
    const U* from = received.const_data_ptr<U>();
    for (const auto& of_rank : sent_) {
      for (const size_t k : of_rank) {
        read(k, from);
        from += width;
      }
    }
  }

 private:
  int64_t n_sent() const {
    int64_t n = 0;
    for (const auto& of_rank : sent_) n += std::ssize(of_rank);
    return n;
  }

  RankGroup& ranks_;
  std::vector<std::vector<size_t>> sent_;  // entries, by rank
};

}  // namespace

Owners find_owners(RankGroup& ranks, std::span<const int64_t> own, std::span<const int64_t> wanted) {
  const auto keeper = [&](int64_t tag) {
    const int64_t rank = tag % ranks.size();
    return rank < 0 ? rank + ranks.size() : rank;
  };
  const Letters<int64_t> registration(ranks, own.size(), [&](size_t k) { return keeper(own[k]); });
  const auto [registered, n_from] = registration.send(2, [&](size_t k, int64_t* to) {
    to[0] = own[k];
    to[1] = static_cast<int64_t>(k);
  });
  struct Place {
    int64_t rank, row;
  };
  std::unordered_map<int64_t, Place> kept;
  size_t at = 0;
  for (size_t rank = 0; rank < n_from.size(); ++rank)
    for (const size_t end = at + static_cast<size_t>(n_from[rank]); at < end; at += 2)
      kept[registered[at]] = {static_cast<int64_t>(rank), registered[at + 1]};

  const Letters<int64_t> question(ranks, wanted.size(), [&](size_t k) { return keeper(wanted[k]); });
  auto [asked, counts] = question.send(1, [&](size_t k, int64_t* to) { *to = wanted[k]; });
  std::vector<int64_t> answers;
  for (const int64_t tag : asked) {
    const auto found = kept.find(tag);
    const Place place = found == kept.end() ? Place{-1, -1} : found->second;
    answers.insert(answers.end(), {place.rank, place.row});
  }
  for (int64_t& count : counts) count *= 2;
  Owners owners{std::vector<int64_t>(wanted.size()), std::vector<int64_t>(wanted.size())};
  question.answer(answers, counts, 2, [&](size_t k, const int64_t* from) {
    owners.ranks[k] = from[0];
    owners.rows[k] = from[1];
  });
  return owners;
}

std::vector<double> ask_owners(RankGroup& ranks, const Owners& owners, int64_t width,
                               const std::function<void(int64_t row, double* to)>& answer) {
  const Letters<int64_t> question(ranks, owners.ranks.size(), [&](size_t k) { return owners.ranks[k]; });
  auto [asked, counts] = question.send(1, [&](size_t k, int64_t* to) { *to = owners.rows[k]; });
  std::vector<double> answers(asked.size() * static_cast<size_t>(width));
  for (size_t k = 0; k < asked.size(); ++k) answer(asked[k], answers.data() + k * static_cast<size_t>(width));
  for (int64_t& count : counts) count *= width;
  std::vector<double> found(owners.ranks.size() * static_cast<size_t>(width), 0.0);
  question.answer(answers, counts, width, [&](size_t k, const double* from) {
    std::copy_n(from, width, found.begin() + static_cast<std::ptrdiff_t>(k) * width);
  });
  return found;
}

}  // namespace distmlip::exchange
