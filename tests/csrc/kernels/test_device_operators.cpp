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

/// Seven rows, of which five receive, one of them nothing; channels fill no group, more than one, and two.
template <class Real>
void convolve(kernels::DeviceOperators& operators, Found& found) {
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
  for (const auto* values : {&messages, &of_rows, &of_weights, &of_couplings})
    found.add(values->data(), static_cast<int64_t>(values->size()));
}

/// Two outputs of three inputs, of all degrees, for five atoms of two species with 40 channels.
template <class Real>
void contract(kernels::DeviceOperators& operators, Found& found) {
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
  found.add(outputs.data(), static_cast<int64_t>(outputs.size()));
  found.add(of_rows.data(), static_cast<int64_t>(of_rows.size()));
}

}  // namespace

int main() {
  kernels::Device device;
  device.allocate = test::poisoned;
  const auto host = kernels::host_operators(device);
  kernels::OperatorsOn<kernels::Cuda> cuda(device);
  for (const auto& compute : {convolve<float>, convolve<double>, contract<float>, contract<double>}) {
    Found expected, found;
    compute(*host, expected);
    compute(cuda, found);
    if (!(found == expected)) {
      std::puts("CUDA gives something else than the CPU");
      return 1;
    }
  }
  std::puts("passed");
  return 0;
}
