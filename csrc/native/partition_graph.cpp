// How a stage reads its partition's graph.
#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "core/error.h"
#include "core/thread_pool.h"
#include "exchange/host_tensors.h"
#include "native/partition_run.h"

namespace distmlip::native {
namespace {

constexpr int64_t rows_per_job = 512;

/// Calls work(first, last) for stretches of [0, n).
template <class F>
void in_stretches(int64_t n, int n_threads, F work) {
  parallel_for((n + rows_per_job - 1) / rows_per_job, n_threads,
               [&](int64_t job, int) { work(job * rows_per_job, std::min(n, (job + 1) * rows_per_job)); });
}

const int64_t* integers(const at::Tensor& tensor, const char* name) {
  if (!tensor.device().is_cpu() || tensor.scalar_type() != at::kLong || !tensor.is_contiguous() ||
      tensor.dim() != 1)
    invalid(name, " must be contiguous int64 numbers on the host");
  return tensor.const_data_ptr<int64_t>();
}

}  // namespace

template <class T>
void PartitionRun<T>::read_graph() {
  senders_ = integers(graph_.senders, "senders");
  n_owned_ = graph_.n_owned;
  n_local_ = graph_.numbers.numel();
  n_edges_ = graph_.senders.numel();
  if (n_owned_ < 0 || n_owned_ > n_local_) invalid("n_owned is ", n_owned_, " of ", n_local_, " atoms");
  const at::Tensor& vectors = graph_.vectors;
  if (!vectors.device().is_cpu() || vectors.scalar_type() != c10::CppTypeToScalarType<T>::value ||
      !vectors.is_contiguous() || vectors.numel() != 3 * n_edges_ || graph_.receivers.numel() != n_edges_)
    invalid("vectors must be contiguous, (n_edges, 3), in the stage's dtype and on the host");
  vectors_ = vectors.const_data_ptr<T>();
  read_species(integers(graph_.numbers, "numbers"));
  find_first_edges(integers(graph_.receivers, "receivers"));
}

template <class T>
void PartitionRun<T>::read_species(const int64_t* numbers) {
  std::vector<int32_t> species_of;
  for (size_t s = 0; s < program_.numbers.size(); ++s) {
    const auto number = static_cast<size_t>(program_.numbers[s]);
    if (species_of.size() <= number) species_of.resize(number + 1, -1);
    species_of[number] = static_cast<int32_t>(s);
  }
  species_.resize(static_cast<size_t>(n_local_));
  for (int64_t row = 0; row < n_local_; ++row) {
    const int64_t number = numbers[row];
    if (number < 0 || number >= std::ssize(species_of) || species_of[static_cast<size_t>(number)] < 0)
      invalid("atomic number ", number, ", for which the stage was not made");
    species_[static_cast<size_t>(row)] = species_of[static_cast<size_t>(number)];
  }
}

template <class T>
void PartitionRun<T>::find_first_edges(const int64_t* receivers) {
  first_edge_.assign(static_cast<size_t>(n_owned_ + 1), 0);
  for (int64_t e = 0; e < n_edges_; ++e) {
    if (receivers[e] < 0 || receivers[e] >= n_owned_ || (e > 0 && receivers[e] < receivers[e - 1]) ||
        senders_[e] < 0 || senders_[e] >= n_local_)
      invalid("edge ", e, " is out of order or out of range");
    ++first_edge_[static_cast<size_t>(receivers[e] + 1)];
  }
  for (int64_t atom = 0; atom < n_owned_; ++atom)
    first_edge_[static_cast<size_t>(atom + 1)] += first_edge_[static_cast<size_t>(atom)];
}

template <class T>
int64_t PartitionRun<T>::n_edges_of(int64_t receiver) const {
  return first_edge_[static_cast<size_t>(receiver + 1)] - first_edge_[static_cast<size_t>(receiver)];
}

/// Those that come from one species stand together, if some operator wants that.
template <class T>
void PartitionRun<T>::order_edges(int n_threads) {
  const bool by_species = std::any_of(program_.edge_operators.begin(), program_.edge_operators.end(),
                                      [](const auto& edge) { return edge->wants_species_together; });
  if (!by_species) return;
  order_.resize(static_cast<size_t>(n_edges_));
  in_stretches(n_owned_, n_threads, [&](int64_t first, int64_t last) {
    for (int64_t atom = first; atom < last; ++atom) {
      const int64_t begin = first_edge_[static_cast<size_t>(atom)];
      int32_t* order = order_.data() + begin;
      std::iota(order, order + n_edges_of(atom), 0);
      std::stable_sort(order, order + n_edges_of(atom), [&](int32_t a, int32_t b) {
        return species(senders_[begin + a]) < species(senders_[begin + b]);
      });
    }
  });
}

/// An edge and its reverse are one pair where both are here: their vectors are exact opposites.
template <class T>
void PartitionRun<T>::find_pairs(int n_threads) {
  Buffer<int32_t> reverse(static_cast<size_t>(n_edges_));
  in_stretches(n_owned_, n_threads, [&](int64_t first, int64_t last) {
    for (int64_t atom = first; atom < last; ++atom) {
      for (int64_t e = first_edge_[static_cast<size_t>(atom)]; e < first_edge_[static_cast<size_t>(atom + 1)];
           ++e) {
        const int64_t other = senders_[e];
        const T* v = vectors_ + 3 * e;
        int64_t found = -1;
        if (other < n_owned_) {
          for (int64_t f = first_edge_[static_cast<size_t>(other)];
               f < first_edge_[static_cast<size_t>(other + 1)] && found < 0; ++f) {
            const T* w = vectors_ + 3 * f;
            if (senders_[f] == atom && w[0] == -v[0] && w[1] == -v[1] && w[2] == -v[2]) found = f;
          }
        }
        reverse[static_cast<size_t>(e)] = static_cast<int32_t>(found);
      }
    }
  });
  pair_of_edge_.resize(static_cast<size_t>(n_edges_));
  int32_t n_pairs = 0;
  for (int64_t e = 0; e < n_edges_; ++e) {
    const int32_t other = reverse[static_cast<size_t>(e)];
    const bool is_known = other >= 0 && other < e;
    pair_of_edge_[static_cast<size_t>(e)] = is_known ? pair_of_edge_[static_cast<size_t>(other)] : n_pairs++;
  }
}

template <class T>
void PartitionRun<T>::evaluate_pairs(int n_threads) {
  kept_.resize(program_.radials.size());
  kept_data_.resize(program_.radials.size(), nullptr);
  const bool any = std::any_of(program_.radials.begin(), program_.radials.end(),
                               [](const auto& radial) { return radial->is_exact(); });
  if (!any) return;
  find_pairs(n_threads);
  std::vector<double> lengths;
  std::vector<int32_t> species_pairs;
  for (int64_t atom = 0; atom < n_owned_; ++atom) {
    for (int64_t e = first_edge_[static_cast<size_t>(atom)]; e < first_edge_[static_cast<size_t>(atom + 1)];
         ++e) {
      if (pair_of_edge_[static_cast<size_t>(e)] != std::ssize(lengths)) continue;
      const T* v = vectors_ + 3 * e;
      const auto x = static_cast<double>(v[0]), y = static_cast<double>(v[1]), z = static_cast<double>(v[2]);
      lengths.push_back(std::sqrt(x * x + y * y + z * z));
      species_pairs.push_back(species(atom) * program_.n_species() + species(senders_[e]));
    }
  }
  for (size_t r = 0; r < program_.radials.size(); ++r) {
    const Radial<T>& radial = *program_.radials[r];
    if (!radial.is_exact()) continue;
    kept_[r] = exchange::empty({std::ssize(lengths) * radial.pair_size() + slack}, graph_.vectors.options());
    T* kept = kept_[r].template mutable_data_ptr<T>();
    kept_data_[r] = kept;
    in_stretches(std::ssize(lengths), n_threads, [&](int64_t first, int64_t last) {
      radial.evaluate_pairs(last - first, lengths.data() + first, species_pairs.data() + first,
                            kept + first * radial.pair_size());
    });
  }
}

/// Rows that edges read: constants by species, inputs by local row.
template <class T>
void PartitionRun<T>::read_senders(int n_threads) {
  sender_rows_.resize(program_.registers.size());
  sender_data_.resize(program_.registers.size(), nullptr);
  for (size_t r = 0; r < program_.registers.size(); ++r)
    if (!program_.constants[r].empty()) sender_data_[r] = program_.constants[r].data();
  for (size_t k = 0; k < program_.inputs.size(); ++k) {
    const Input& input = program_.inputs[k];
    if (!input.of_senders) continue;
    const auto r = static_cast<size_t>(input.of);
    const Layout& layout = program_.registers[r].layout;
    if (layout.is_same_as(input.order)) {
      sender_data_[r] = inputs_[k].template const_data_ptr<T>();
      continue;
    }
    sender_rows_[r] = exchange::empty({n_local_ * layout.size() + slack}, graph_.vectors.options());
    T* rows = sender_rows_[r].template mutable_data_ptr<T>();
    const T* given = inputs_[k].template const_data_ptr<T>();
    in_stretches(n_local_, n_threads, [&](int64_t first, int64_t last) {
      for (int64_t row = first; row < last; ++row)
        layout.read(given + row * layout.width(), rows + row * layout.size(), input.order);
    });
    sender_data_[r] = rows;
  }
}

template <class T>
bool PartitionRun<T>::next(EdgeBlock<T>& edges, int64_t first_atom, int n_atoms, Cursor& cursor,
                           int per) const {
  edges.n = 0;
  edges.receivers.clear();
  while (cursor.atom < n_atoms && std::ssize(edges.receivers) < receivers_per_block) {
    const int64_t left = n_edges_of(first_atom + cursor.atom) - cursor.edge;
    const int room_left = edges_per_block - edges.n;
    if (edges.n > 0 && left > room_left) break;  // all of a receiver's together, if they can be
    const auto n = static_cast<int>(std::min<int64_t>(left, room_left));
    if (n > 0) {
      edges.receivers.push_back({cursor.atom, edges.n, n});
      add(edges, first_atom + cursor.atom, cursor.edge, n);
    }
    cursor.edge += n;
    if (n == left) cursor = {cursor.atom + 1, 0};
    if (edges.n == edges_per_block) break;
  }
  if (edges.n > 0) find_geometry(edges, per);
  return edges.n > 0;
}

template <class T>
void PartitionRun<T>::add(EdgeBlock<T>& edges, int64_t receiver, int64_t first, int n) const {
  const int64_t begin = first_edge_[static_cast<size_t>(receiver)];
  for (int k = 0; k < n; ++k) {
    const auto e = static_cast<size_t>(edges.n++);
    const int64_t place = begin + first + k;
    const int64_t edge = order_.empty() ? place : begin + order_[static_cast<size_t>(place)];
    edges.edges[e] = edge;
    edges.senders[e] = static_cast<int32_t>(senders_[edge]);
    edges.vectors[e] = vectors_ + 3 * edge;
    edges.species_pairs[e] = species(receiver) * program_.n_species() + species(senders_[edge]);
    if (!pair_of_edge_.empty()) edges.pairs[e] = pair_of_edge_[static_cast<size_t>(edge)];
  }
}

template <class T>
void PartitionRun<T>::find_geometry(EdgeBlock<T>& edges, int per) const {
  if (program_.reads_harmonics) {
    program_.operators->harmonics(edges.n, edges.vectors.data(), program_.sign, edges.harmonics.data(),
                                  edges.lengths.data());
  } else {
    for (size_t e = 0; e < static_cast<size_t>(edges.n); ++e) {
      const T* v = edges.vectors[e];
      edges.lengths[e] = std::sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]);
    }
  }
  if (!program_.has_tables) return;
  std::array<int32_t, edges_per_block> cells;
  std::array<T, edges_per_block> t, slopes, sorted_t, sorted_slopes;
  for (size_t e = 0; e < static_cast<size_t>(edges.n); ++e)
    cells[e] = program_.cells.find(edges.lengths[e], t[e], slopes[e]);
  sort_by_cell(edges, cells.data());
  for (size_t k = 0; k < static_cast<size_t>(edges.n); ++k) {
    const auto e = static_cast<size_t>(edges.by_cell[k]);
    edges.cells[k] = cells[e];
    sorted_t[k] = t[e];
    sorted_slopes[k] = slopes[e];
  }
  int n_coefficients = 0;
  for (const auto& radial : program_.radials)
    n_coefficients = std::max(n_coefficients, radial->n_coefficients());
  T* polynomials = room(edges.polynomials, 2 * edges_per_block * kernels::irreps::most_coefficients);
  program_.operators->chebyshev(edges.n, n_coefficients, per, sorted_t.data(), sorted_slopes.data(),
                                polynomials);
}

/// By counting. Of tables that differ by species pair, if there are any: those of a stage differ in the same
/// way. `cells`: of each edge.
template <class T>
void PartitionRun<T>::sort_by_cell(EdgeBlock<T>& edges, const int32_t* cells) const {
  const Radial<T>* of = nullptr;
  for (const auto& radial : program_.radials)
    if (of == nullptr || radial->reads_species()) of = radial.get();
  std::vector<int32_t>& places = edges.places;
  places.assign(of->n_table_cells() + 1, 0);
  const auto cell_of = [&](size_t e) {
    return static_cast<size_t>(of->cell_of(cells[e], edges.species_pairs[e]));
  };
  for (size_t e = 0; e < static_cast<size_t>(edges.n); ++e) ++places[cell_of(e) + 1];
  std::partial_sum(places.begin(), places.end(), places.begin());
  for (size_t e = 0; e < static_cast<size_t>(edges.n); ++e)
    edges.by_cell[static_cast<size_t>(places[cell_of(e)]++)] = static_cast<int32_t>(e);
}

template void PartitionRun<float>::read_graph();
template void PartitionRun<float>::order_edges(int);
template void PartitionRun<float>::evaluate_pairs(int);
template void PartitionRun<float>::read_senders(int);
template int64_t PartitionRun<float>::n_edges_of(int64_t) const;
template void PartitionRun<float>::find_geometry(EdgeBlock<float>&, int) const;
template bool PartitionRun<float>::next(EdgeBlock<float>&, int64_t, int, Cursor&, int) const;
template void PartitionRun<double>::read_graph();
template void PartitionRun<double>::order_edges(int);
template void PartitionRun<double>::evaluate_pairs(int);
template void PartitionRun<double>::read_senders(int);
template int64_t PartitionRun<double>::n_edges_of(int64_t) const;
template void PartitionRun<double>::find_geometry(EdgeBlock<double>&, int) const;
template bool PartitionRun<double>::next(EdgeBlock<double>&, int64_t, int, Cursor&, int) const;

}  // namespace distmlip::native
