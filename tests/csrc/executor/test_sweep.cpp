// The sweep over many partitions and workers, in plain C++: for the thread sanitizer.
//
// The "model": x = a · rows; y = x_local summed over all local rows, per owned row; energy = y². The first
// stage is cheap: with recompute, x is made anew for the way back. Its
// gradients are known in closed form, so the program compares, and exits with 1 where anything differs.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <atomic>
#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "executor/sweep.h"

using namespace distmlip;
using executor::StageOutput;
using executor::Tensors;

namespace {

constexpr int64_t kPartitions = 6;
constexpr int64_t kOwned = 3;

/// Every partition reads the first row of every other partition.
exchange::Routes ring() {
  exchange::Routes routes;
  const at::Tensor first = at::zeros({1}, at::kLong);
  for (int64_t p = 0; p < kPartitions; ++p) {
    std::vector<int64_t> first_rows;
    for (int64_t q = 0; q < kPartitions; ++q)
      if (q != p) first_rows.push_back(q);
    routes.packed.push_back(first);
    routes.sources.push_back(at::tensor(first_rows, at::kLong));
    routes.pools.push_back(0);
  }
  routes.peers = {{at::empty({0}, at::kLong), {0}, {0}}};
  return routes;
}

class Model : public executor::StageRunner {
 public:
  explicit Model(bool fails = false, bool native = false) : fails_(fails), native_(native) {}

  StageOutput run(size_t stage, size_t partition, const Tensors& inputs, bool, int) override {
    ++running_;
    if (fails_ && stage == 1 && partition == 4) throw std::runtime_error("partition 4 went wrong");
    if (stage == 0) {
      const auto x = at::full({kOwned, 1}, static_cast<double>(partition + 1), at::kDouble);
      return {{{"x", x}},
              [](const Tensors& gradients, int) { return executor::Gradients{{}, gradients.at("x")}; }};
    }
    if (stage == 1) {
      const auto x = inputs.at("x");
      return {{{"y", x.sum().expand({kOwned}).clone()}}, [x](const Tensors& gradients, int) {
                return executor::Gradients{{{"x", at::ones_like(x) * gradients.at("y").sum()}}, {}};
              }};
    }
    const auto y = inputs.at("y");
    return {{{"energy", y.pow(2)}},
            [y](const Tensors&, int) { return executor::Gradients{{{"y", 2 * y}}, {}}; }};
  }
  bool is_native(size_t) const override { return native_; }
  void check_interrupt() override {}
  int running() const { return running_; }

 private:
  std::atomic<int> running_ = 0;
  bool fails_, native_;
};

executor::SweepRequest request(size_t n_workers, executor::Recompute recompute = executor::Recompute::never) {
  static const std::vector<executor::StageSpec> stages{
      {"first", {}, {}, {"x"}, {}, {}, {}, /*is_cheap=*/true},
      {"second", {std::make_shared<exchange::Halo>("x", std::vector<int64_t>{1})}, {"x"}, {"y"}, {}, {}, {}},
      {"third", {}, {"y"}, {}, {"energy"}, {}, {}}};
  executor::SweepRequest request;
  request.recompute = recompute;
  request.stages = stages;
  for (int64_t p = 0; p < kPartitions; ++p) {
    request.slots.push_back(static_cast<size_t>(p) % n_workers);
    request.crossing.n_owned.push_back(kOwned);
    request.crossing.n_bonds.push_back(0);
  }
  request.crossing.atoms = ring();
  return request;
}

void require(bool holds, const std::string& what) {
  if (!holds) throw std::logic_error(what);
}

double total(int64_t p) {  // of a partition's local rows: its own three, and one of each other partition
  double sum = 0;
  for (int64_t q = 0; q < kPartitions; ++q) sum += static_cast<double>(q + 1) * (p == q ? kOwned : 1);
  return sum;
}

void check(const executor::SweepResult& result) {
  for (int64_t p = 0; p < kPartitions; ++p) {
    const auto i = static_cast<size_t>(p);
    const auto& energy = result.results.at("energy")[i];
    require(at::allclose(energy, at::full_like(energy, total(p) * total(p))), "energy of a partition");
    auto expected = at::full({kOwned, 1}, 2.0 * kOwned * total(p), at::kDouble);
    for (int64_t q = 0; q < kPartitions; ++q)
      if (q != p) expected[0] += 2.0 * kOwned * total(q);  // the halo copies of row 0
    require(at::allclose(result.edge_gradients[i], expected), "gradient of a partition");
  }
}

void many_sweeps_at_once() {
  std::vector<std::thread> threads;
  std::atomic<int> passed = 0;
  for (size_t k = 0; k < 4; ++k) {
    threads.emplace_back([&passed, k] {
      for (int repeat = 0; repeat < 20; ++repeat) {
        Model model(/*fails=*/false, /*native=*/repeat % 2 == 1);
        const bool again = repeat / 2 % 2 == 1;
        check(executor::sweep(
            request(k + 1, again ? executor::Recompute::stages : executor::Recompute::never), model));
        // The first one's rows are made anew for the second one, which then runs again.
        require(model.running() == (again ? 5 : 3) * kPartitions, "how often stages run");
        ++passed;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  require(passed == 80, "all sweeps ended");
}

void an_error_comes_back_and_nothing_is_left_behind() {
  for (int repeat = 0; repeat < 20; ++repeat) {
    const bool native = repeat % 2 == 1;  // partitions side by side
    bool caught = false;
    try {
      Model model(/*fails=*/true, native);
      executor::sweep(request(3), model);
    } catch (const std::runtime_error& error) {
      caught = std::string(error.what()) == "partition 4 went wrong";
    }
    require(caught, "the error of a worker reaches the caller");
    Model model(/*fails=*/false, native);
    check(executor::sweep(request(3), model));
  }
}

}  // namespace

int main() {
  at::set_num_threads(2);  // with native stages, each worker's partitions run on two threads
  try {
    many_sweeps_at_once();
    an_error_comes_back_and_nothing_is_left_behind();
  } catch (const std::exception& error) {
    std::printf("FAILED: %s\n", error.what());
    return 1;
  }
  std::printf("passed\n");
  return 0;
}
