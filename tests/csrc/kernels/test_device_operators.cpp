// The operators for devices by the back end for the CPU and by that for CUDA on emulated warps: both must
// give the same to the last bit. What is right, the Python tests know.
#include <cstdio>
#include <numeric>
#include <random>
#include <stdexcept>
#include <vector>

#include "found.h"
#include "kernels/device/operators_on.h"
#include "kernels/device/parallel_cuda.h"

using namespace distmlip;
using test::Found;

namespace {

template <class Real>
std::vector<Real> random_numbers(size_t n) {
  std::mt19937_64 random(n);
  std::uniform_real_distribution<Real> uniform(-1, 1);
  std::vector<Real> values(n);
  for (Real& value : values) value = uniform(random);
  return values;
}

/// What nobody has written yet shows.
template <class Real>
std::vector<Real> unwritten(size_t n) {
  return std::vector<Real>(n, Real(12345));
}

template <class Real>
void add(Found& found, const std::vector<Real>& values) {
  found.add(values.data(), static_cast<int64_t>(values.size()));
}

/// Seven rows, of which five receive, one of them nothing; channels fill no group, more than one, and two.
template <class Real>
void convolve(kernels::DeviceOperators<Real>& operators, Found& found) {
  const std::vector<int64_t> row_begin{0, 3, 3, 4, 44, 46}, receivers = [&] {
    std::vector<int64_t> all;
    for (int64_t row = 0; row < 5; ++row)
      all.insert(all.end(), static_cast<size_t>(row_begin[row + 1] - row_begin[row]), row);
    return all;
  }();
  const size_t n_edges = receivers.size(), n_local = 7;
  std::vector<int64_t> senders(n_edges), sent_begin(n_local + 1);
  std::vector<int32_t> sent(n_edges), numbers(n_edges);
  for (size_t k = 0; k < n_edges; ++k)
    senders[k] = static_cast<int64_t>(k * k % 6);  // the last sends nothing
  std::iota(numbers.begin(), numbers.end(), 0);
  std::iota(sent.begin(), sent.end(), 0);
  std::stable_sort(sent.begin(), sent.end(), [&](int a, int b) { return senders[a] < senders[b]; });
  for (size_t row = 0; row <= n_local; ++row)
    sent_begin[row] = std::count_if(senders.begin(), senders.end(), [&](auto s) { return s < int64_t(row); });
  // Senders: 5 x l=0, 33 x l=1, 2 x l=3, of which nobody reads the last; message: 71 x l=1, 33 x l=3.
  const std::vector<kernels::PathOfDevice> paths{
      {1, 3, 5, 0, 0, 71, 0, 0}, {3, 3, 33, 5, 38, 71, 5, 3}, {3, 7, 33, 5, 213, 33, 38, 12}};
  std::vector<int32_t> of_weight(71, 2), of_channel(40, 1), element(40);
  std::fill_n(of_weight.begin(), 5, 0);
  std::fill_n(of_weight.begin() + 5, 33, 1);
  std::fill_n(of_channel.begin(), 5, 0);
  std::fill_n(of_channel.begin() + 38, 2, -1);
  for (int32_t c = 0; c < 40; ++c) element[c] = c < 38 ? c : c + 66;
  const kernels::PathsOfDevice lists{
      paths.data(), 3, of_weight.data(), of_channel.data(), element.data(), 71, 40, 33, 118, 444};
  const auto rows = random_numbers<Real>(n_local * 118), weights = random_numbers<Real>(n_edges * 71),
             couplings = random_numbers<Real>(n_edges * 33), gradients = random_numbers<Real>(5 * 444);
  const kernels::ConvolvedEdges<Real> edges{5,
                                            static_cast<int64_t>(n_edges),
                                            row_begin.data(),
                                            senders.data(),
                                            rows.data(),
                                            weights.data(),
                                            couplings.data()};
  auto messages = unwritten<Real>(5 * 444), of_rows = unwritten<Real>(rows.size()),
       of_weights = unwritten<Real>(weights.size()), of_couplings = unwritten<Real>(couplings.size());
  operators.convolve(lists, edges, messages.data());
  operators.convolve_back(lists, edges, {7, sent_begin.data(), sent.data(), numbers.data(), nullptr},
                          receivers.data(), gradients.data(),
                          {of_rows.data(), of_weights.data(), of_couplings.data()});
  for (const auto* values : {&messages, &of_rows, &of_weights, &of_couplings}) add(found, *values);
}

/// Two outputs of three inputs, of all degrees, for five atoms of two species with 40 channels.
template <class Real>
void contract(kernels::DeviceOperators<Real>& operators, Found& found) {
  using kernels::Monomials;
  const std::vector<int32_t> n_firsts{2, 1};
  const std::vector<Monomials::First> firsts{{0, 2, true}, {2, 0, true}, {1, 1, false}};
  const std::vector<Monomials::Pair> pairs{{0, 2, false}, {1, 0, true}, {2, 1, true}};
  const std::vector<int16_t> triples{1, 2, 2};
  const Monomials monomials{n_firsts.data(), firsts.data(), pairs.data(), triples.data(), 2, 3};
  const std::vector<int64_t> species{0, 1, 1, 0, 1};
  const auto coefficients = random_numbers<Real>(2 * 7 * 40), rows = random_numbers<Real>(5 * 3 * 40),
             gradients = random_numbers<Real>(5 * 2 * 40);
  const kernels::ContractedAtoms<Real> atoms{5, 40, 7, species.data(), coefficients.data(), rows.data()};
  auto outputs = unwritten<Real>(gradients.size()), of_rows = unwritten<Real>(rows.size());
  operators.contract(monomials, atoms, outputs.data());
  operators.contract_back(monomials, atoms, gradients.data(), of_rows.data());
  add(found, outputs);
  add(found, of_rows);
}

/// Three rows, of which two receive, with 40 channels.
template <class Real>
void tensors(kernels::DeviceOperators<Real>& operators, Found& found) {
  constexpr size_t channels = 40, row = 9 * channels;
  const std::vector<int64_t> row_begin{0, 3, 4}, receivers{0, 0, 0, 1}, senders{0, 1, 1, 0};
  const std::vector<int64_t> sent_begin{0, 2, 4, 4};
  const std::vector<int32_t> sent{0, 3, 1, 2}, numbers{0, 1, 2, 3};
  const auto rows = random_numbers<Real>(3 * row), others = random_numbers<Real>(3 * row + 1),
             radial = random_numbers<Real>(4 * 3 * channels), gradients = random_numbers<Real>(3 * row + 2);
  auto messages = unwritten<Real>(2 * row), of_rows = unwritten<Real>(3 * row),
       of_others = unwritten<Real>(3 * row), of_radial = unwritten<Real>(radial.size());
  const kernels::ScaledEdges<Real> edges{
      2, 4, channels, row_begin.data(), senders.data(), rows.data(), radial.data()};
  operators.scale(edges, messages.data());
  operators.scale_back(edges, {3, sent_begin.data(), sent.data(), numbers.data(), nullptr}, receivers.data(),
                       gradients.data(), of_rows.data(), of_radial.data());
  for (const auto* values : {&messages, &of_rows, &of_radial}) add(found, *values);
  for (int k = 0; k <= static_cast<int>(kernels::TensorOperation::plus_square); ++k) {
    const auto operation = static_cast<kernels::TensorOperation>(k);
    const kernels::TensorRows<Real> given{3, channels, rows.data(), others.data()};
    auto out = unwritten<Real>(3 * row);  // functions with fewer numbers leave the rest
    operators.of_tensors(operation, given, out.data());
    operators.of_tensors_back(operation, given, gradients.data(), of_rows.data(), of_others.data());
    for (const auto* values : {&out, &of_rows, &of_others}) add(found, *values);
  }
}

/// 21 rows of two tables, weighed twice, with and without hidden layers and norm.
template <class Real>
void gate(kernels::DeviceOperators<Real>& operators, Found& found) {
  constexpr int64_t n = 21;
  constexpr size_t channels = 40, hidden = 48;
  std::vector<int64_t> index(n), begin{0, 0, 10, 11, n};
  std::vector<int32_t> order(n);
  for (int64_t k = 0; k < n; ++k) {
    index[static_cast<size_t>(k)] = k * k % 4;
    order[static_cast<size_t>(k)] = static_cast<int32_t>(n - 1 - k);
  }
  const auto tables = random_numbers<Real>(4 * 2 * hidden),
             layers = random_numbers<Real>(2 * hidden * channels),
             transposed = random_numbers<Real>(2 * hidden * channels + 1),
             bias = random_numbers<Real>(2 * channels), weights = random_numbers<Real>(4 * channels),
             gradients = random_numbers<Real>(4 * channels + 1);
  kernels::GatedRows<Real> rows{};
  rows.n_rows = n;
  rows.n_tables = 2;
  for (int t = 0; t < 2; ++t) {
    rows.tables[t] = tables.data();
    rows.index[t] = index.data();
  }
  rows.n_channels = channels;
  const kernels::MessageWeights<Real> both{2, {weights.data(), weights.data()}, {index.data(), index.data()}};
  for (const bool is_deep : {true, false}) {
    rows.n_hidden = is_deep ? hidden : channels;
    rows.hidden = is_deep ? layers.data() : nullptr;
    rows.transposed = is_deep ? transposed.data() : nullptr;
    rows.bias = is_deep ? bias.data() : nullptr;
    rows.scales = is_deep ? nullptr : bias.data();
    rows.shifts = is_deep ? nullptr : weights.data();
    rows.epsilon = Real(0.5);
    auto messages = unwritten<Real>(n * channels), products = messages,
         of_sums = unwritten<Real>(n * 2 * static_cast<size_t>(rows.n_hidden)),
         sums = unwritten<Real>(begin.size() * channels);
    operators.gate(rows, messages.data());
    operators.gate_back(rows, both, gradients.data(), index.data(), of_sums.data(), products.data());
    operators.sum_rows({4, begin.data(), order.data()}, channels, messages.data(), both, sums.data());
    for (const auto* values : {&messages, &products, &of_sums, &sums}) add(found, *values);
  }
}

/// Whether both back ends find the same.
template <class Real>
bool agree(const kernels::Device& device) {
  const auto host = kernels::host_operators<Real>(device);
  kernels::OperatorsOn<kernels::Cuda, Real> cuda(device);
  for (const auto& compute : {convolve<Real>, contract<Real>, tensors<Real>, gate<Real>}) {
    Found expected, found;
    compute(*host, expected);
    compute(cuda, found);
    if (!(found == expected)) return false;
  }
  return true;
}

}  // namespace

int main() {
  kernels::Device device;
  device.allocate = test::poisoned;
  const bool is_same = agree<float>(device) && agree<double>(device);
  std::puts(is_same ? "passed" : "CUDA gives something else than the CPU");
  return is_same ? 0 : 1;
}
