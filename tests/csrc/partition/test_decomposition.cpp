// Decompositions of awkward systems on several threads, in plain C++: for the sanitizers.
//
// What the edges must be, the Python tests know. Here every partition's rows and plans are read to the end,
// and compared: with one partition on one thread, and between callers that work at the same time. The program
// exits with 1 where anything differs. With the argument `short` most systems are small.
#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <iterator>
#include <limits>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "neighbors/neighbor_list.h"
#include "partition/decomposition.h"

using namespace distmlip;
using partition::Decomposition;

namespace {

struct System {
  std::string name;
  Cell cell;
  std::vector<double> positions;  // (n_atoms, 3)
  double cutoff;

  int64_t n_atoms() const { return static_cast<int64_t>(positions.size()) / 3; }
};

/// Receiver, sender, shift between wrapped positions: global indices.
using Edge = std::tuple<int32_t, int32_t, int32_t, int32_t, int32_t>;

void require(bool holds, const std::string& what) {
  if (!holds) throw std::logic_error(what);
}

Cell cell_of(const std::array<double, 9>& vectors, const std::array<bool, 3>& periodic) {
  return {vectors, periodic};
}

std::vector<double> scattered(const Cell& cell, int64_t n_atoms, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<double> uniform(0, 1);
  std::vector<double> positions(3 * n_atoms);
  for (int64_t atom = 0; atom < n_atoms; ++atom) {
    for (int axis = 0; axis < 3; ++axis) {
      const Vec3 vector = scaled(cell.row(axis), uniform(random));
      for (int k = 0; k < 3; ++k) positions[3 * atom + k] += vector[k];
    }
  }
  return positions;
}

std::vector<System> systems() {
  constexpr std::array<bool, 3> all{true, true, true}, none{false, false, false};
  const Cell cube = cell_of({24, 0, 0, 0, 24, 0, 0, 0, 24}, all);
  const Cell wide = cell_of({40, 1, 0, 0, 45, -2, 3, 0, 50}, all);
  const Cell open = cell_of({}, none);
  const Cell skewed = cell_of({3.1, 0.2, 0, 155.1, 14, 0.3, -0.4, 0.2, 5}, all);
  const Cell left_handed = cell_of({0, 12, 1, 11, 0, 2, -1, 3, -13}, {true, false, true});
  const Cell needle = cell_of({4, 0, 0, 0, 1e5, 0, 0, 0, 4}, all);
  const Cell plate = cell_of({70, 0, 0, 0, 0.9, 0, 0, 0, 70}, {true, true, false});
  const Cell tiny = cell_of({1.1, 0, 0.1, 0, 0.9, 0, 0.2, 0, 1}, all);
  std::vector<System> list{
      {"no atoms", cube, {}, 3.0},
      {"one atom", cube, {1, 2, 3}, 3.0},
      {"one atom and its images", tiny, {0, 0, 0}, 4.0},
      {"open, one atom", open, {-5, 1e6, 3}, 2.0},
      {"one edge", cube, {0, 0, 0, 0, 0, 23.5}, 0.6},
      {"on one spot", cube, std::vector<double>(60, 7.5), 2.0},
      {"on faces", cube, {0, 24, -0.0, 24, 0, 24, -1e-17, 48, 0, 24, 24, 24, 12, 12, 12}, 1.0},
      {"no neighbours", cube, scattered(cube, 100, 1), 1e-6},
      {"tiny", tiny, scattered(tiny, 5, 2), 4.0},
      {"skewed", skewed, scattered(skewed, 40, 3), 4.0},
      {"left-handed", left_handed, scattered(left_handed, 300, 4), 4.0},
      {"needle", needle, scattered(needle, 500, 5), 4.0},
      {"plate", plate, scattered(plate, 500, 6), 4.0},
      {"disorder", cube, scattered(cube, 2000, 7), 3.5},
      {"large", wide, scattered(wide, 21000, 10), 1.5},  // for each of four threads, in every step
      {"open", open, scattered(cube, 2000, 8), 3.5},
  };
  System far = list.back();
  far.name = "far outside";
  far.cell = cube;
  for (int64_t atom = 0; atom < far.n_atoms(); ++atom)
    far.positions[3 * atom + atom % 3] += 2.4e5 - 48.0 * static_cast<double>(atom % 7);
  list.push_back(far);
  System clumps{"clumps", cell_of({1000, 0, 0, 0, 1000, 0, 0, 0, 1000}, all), scattered(cube, 600, 9), 4.0};
  for (int64_t atom = 0; atom < clumps.n_atoms(); atom += 2) clumps.positions[3 * atom] += 976;
  list.push_back(clumps);
  return list;
}

Decomposition decompose(const System& system, int32_t n_partitions, int n_threads, double skin = 0.3) {
  partition::Request request;
  request.positions = system.positions.data();
  request.n_atoms = system.n_atoms();
  request.cell = system.cell;
  request.cutoff = system.cutoff;
  request.bond_cutoff = 0.6 * system.cutoff;
  request.skin = skin;
  request.n_partitions = n_partitions;
  request.method = n_partitions % 2 ? cut::Method::slab : cut::Method::bisection;
  request.n_threads = n_threads;
  return partition::decompose(request);
}

/// What one partition computes at some positions, as global indices.
struct Graph {
  std::vector<Edge> edges;  // by receiver
  std::vector<int64_t> edge_bond, angles;
  int64_t n_short = 0;
  std::vector<Edge> cut;  // bonds with a copy in another partition, by partner
  partition::RowGroups cut_groups;
};

bool same(const Graph& a, const Graph& b) {
  return a.edges == b.edges && a.edge_bond == b.edge_bond && a.angles == b.angles && a.cut == b.cut;
}

bool same(const std::vector<Graph>& a, const std::vector<Graph>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const Graph& first, const Graph& second) { return same(first, second); });
}

/// `step` is used again and again, as a calculator does.
Graph graph_of(const partition::Snapshot& now, int32_t p, int n_threads, partition::StepGraph& step) {
  const Decomposition& cut = now.decomposition();
  const auto& local = cut.parts[p];
  const int64_t room = partition::edge_room(local, n_threads);
  std::vector<int64_t> senders(room), receivers(room);
  std::vector<float> vectors(3 * room);
  partition::write_edges<float>(now, p, n_threads, true, {senders.data(), receivers.data(), vectors.data()},
                                step);
  std::vector<int64_t> bond_edge(step.n_bonds);
  Graph graph;
  graph.edge_bond.resize(step.n_edges);
  graph.angles.resize(2 * step.n_angles);
  partition::write_bonds(cut, p, step, senders.data(),
                         {graph.edge_bond.data(), bond_edge.data(), graph.angles.data()});
  for (int64_t edge = 0; edge < step.n_edges; ++edge) {
    require(receivers[edge] < local.n_owned() && senders[edge] < local.n_local(), "rows exist");
    require(edge == 0 || receivers[edge - 1] <= receivers[edge], "receivers ascend");
    const int32_t* shift =
        cut.shifts.data() + 3 * static_cast<size_t>(local.shift_code[step.candidate[edge]]);
    graph.edges.emplace_back(local.global(receivers[edge]), local.global(senders[edge]), shift[0], shift[1],
                             shift[2]);
  }
  for (const int64_t edge : graph.angles) require(edge >= 0 && edge < step.n_edges, "angles are of edges");
  for (const int64_t bond : graph.edge_bond) require(bond >= 0 && bond < step.n_bonds, "edges have bonds");
  for (const int64_t edge : bond_edge) require(edge >= 0 && edge < step.n_edges, "bonds have edges");
  for (const int32_t edge : step.cut_edge) graph.cut.push_back(graph.edges[edge]);
  graph.cut_groups = step.cut_groups;
  graph.n_short = step.short_begin.back();
  return graph;
}

std::vector<Graph> graphs_of(const Decomposition& cut, const std::vector<double>& positions,
                             int n_threads = 1) {
  const partition::Snapshot now(cut, positions.data(), cut.cell);
  partition::StepGraph step;
  std::vector<Graph> graphs;
  for (int32_t p = 0; p < cut.n_partitions; ++p) graphs.push_back(graph_of(now, p, n_threads, step));
  return graphs;
}

Edge reversed(const Edge& edge) {
  const auto& [receiver, sender, a, b, c] = edge;
  return {sender, receiver, -a, -b, -c};
}

/// The rows of the group of a partner; none if there is no such group.
template <class Row>
std::vector<Row> group(const std::vector<Row>& rows, const partition::RowGroups& groups, int32_t partner) {
  const int64_t found = groups.find(partner);
  if (found == groups.n_groups()) return {};
  return {rows.begin() + groups.begin[found], rows.begin() + groups.begin[found + 1]};
}

void check_plans(const Decomposition& cut, const std::vector<Graph>& graphs) {
  for (int32_t p = 0; p < cut.n_partitions; ++p) {
    for (int32_t q = 0; q < cut.n_partitions; ++q) {
      std::vector<int32_t> sent;
      for (const int32_t row : group(cut.parts[p].send, cut.parts[p].send_groups, q))
        sent.push_back(cut.parts[p].owned[row]);
      require(sent == group(cut.parts[q].halo, cut.parts[q].halo_groups, p), "what is sent is what is read");
      std::vector<Edge> reverse;
      for (const Edge& edge : group(graphs[p].cut, graphs[p].cut_groups, q))
        reverse.push_back(reversed(edge));
      require(reverse == group(graphs[q].cut, graphs[q].cut_groups, p), "both sides have the same cut bonds");
    }
  }
}

/// All edges of all partitions, sorted; every edge and its reverse once.
std::vector<Edge> all_edges(const std::vector<Graph>& graphs) {
  std::vector<Edge> edges, reverse;
  for (const Graph& graph : graphs) edges.insert(edges.end(), graph.edges.begin(), graph.edges.end());
  for (const Edge& edge : edges) reverse.push_back(reversed(edge));
  std::sort(edges.begin(), edges.end());
  std::sort(reverse.begin(), reverse.end());
  require(edges == reverse, "edges have their reverses");
  require(std::adjacent_find(edges.begin(), edges.end()) == edges.end(), "every edge is there once");
  return edges;
}

/// How many short edges and angles there are in all partitions.
std::pair<int64_t, size_t> totals(const std::vector<Graph>& graphs) {
  std::pair<int64_t, size_t> sums{0, 0};
  for (const Graph& graph : graphs) {
    sums.first += graph.n_short;
    sums.second += graph.angles.size() / 2;
  }
  return sums;
}

/// Positions that are `distance` from those of the system.
std::vector<double> moved(const System& system, double distance) {
  std::vector<double> positions = system.positions;
  for (int64_t atom = 0; atom < system.n_atoms(); ++atom)
    positions[3 * atom + atom % 3] += atom % 2 ? distance : -distance;
  return positions;
}

void partitions_and_threads_change_nothing(const System& system) {
  const auto alone = decompose(system, 1, 1);
  for (const double distance : {0.149, 0.0}) {
    const auto positions = moved(system, distance);
    require(partition::still_valid(alone, positions.data(), system.n_atoms(), system.cell), "still valid");
    const auto expected = graphs_of(alone, positions);
    const auto edges = all_edges(expected);
    for (const int32_t n_partitions : {2, 5, 16}) {
      const auto cut = decompose(system, n_partitions, 4);
      const auto graphs = graphs_of(cut, positions);
      check_plans(cut, graphs);
      require(all_edges(graphs) == edges, "the edges do not depend on the number of partitions");
      require(totals(graphs) == totals(expected), "number of bonds and angles");
      const auto one_thread = graphs_of(decompose(system, n_partitions, 1), positions);
      require(same(one_thread, graphs) && same(one_thread, graphs_of(cut, positions, 4)), "nor on threads");
    }
  }
}

void neighbor_list_has_as_many_pairs(const System& system) {
  const auto edges = all_edges(graphs_of(decompose(system, 3, 2, 0.0), system.positions));
  const neighbors::NeighborList list(system.positions.data(), system.n_atoms(), system.cell, system.cutoff,
                                     false, 4);
  require(list.n_pairs() == static_cast<int64_t>(edges.size()), "as many pairs as edges");
  const auto n_pairs = static_cast<size_t>(list.n_pairs());
  std::vector<int64_t> i(n_pairs), j(n_pairs), shift(3 * n_pairs);
  std::vector<double> distance(n_pairs), vector(3 * n_pairs);
  list.write({i.data(), j.data(), distance.data(), vector.data(), shift.data()});
  for (size_t pair = 0; pair < n_pairs; ++pair) {
    require(std::get<0>(edges[pair]) == i[pair], "pairs are sorted by atom");
    require(j[pair] >= 0 && j[pair] < system.n_atoms(), "neighbours exist");
    require(distance[pair] < system.cutoff, "pairs are within the cutoff");
  }
}

void many_callers_at_once(const std::vector<System>& all, const System& large) {
  const auto shared = decompose(large, 6, 3);
  const auto positions = moved(large, 0.1);
  const auto expected = graphs_of(shared, positions);
  std::atomic<int> passed = 0;
  std::vector<std::thread> threads;
  for (size_t k = 0; k < 4; ++k) {
    threads.emplace_back([&, k] {
      if (same(graphs_of(shared, positions, 2), expected)) ++passed;  // all read the same decomposition
      for (size_t turn = 0; turn < 4; ++turn) {
        const System& system = all[(5 * k + 3 * turn) % all.size()];
        const auto cut = decompose(system, 4, 3);
        const auto one_thread = graphs_of(decompose(system, 4, 1), system.positions);
        if (same(graphs_of(cut, system.positions), one_thread)) ++passed;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  require(passed == 20, "all callers have the same results");
}

template <class Change>
void is_refused(const System& system, const std::string& word, Change change) {
  partition::Request request;
  request.positions = system.positions.data();
  request.n_atoms = system.n_atoms();
  request.cell = system.cell;
  request.cutoff = system.cutoff;
  request.n_partitions = 3;
  request.n_threads = 4;
  change(request);
  try {
    partition::decompose(request);
  } catch (const std::invalid_argument& error) {
    require(std::string(error.what()).find(word) != std::string::npos,
            std::string("message: ") + error.what());
    return;
  }
  throw std::logic_error("not refused: " + word);
}

void bad_input_is_refused(const std::vector<System>& all) {
  const System& system = all[13];
  const double nan = std::numeric_limits<double>::quiet_NaN();
  std::vector<double> broken = system.positions;
  broken[3 * 1999 + 1] = nan;
  std::vector<double> weights(system.n_atoms(), 1.0);
  weights.back() = -1;
  is_refused(system, "atom 1999", [&](auto& request) { request.positions = broken.data(); });
  is_refused(system, "weights[1999]", [&](auto& request) { request.weights = weights.data(); });
  is_refused(system, "volume", [](auto& request) { request.cell.vectors = {}; });
  is_refused(system, "images",
             [](auto& request) { request.cell.vectors = {.01, 0, 0, 0, .01, 0, 0, 0, .01}; });
  is_refused(system, "images", [](auto& request) { request.skin = 1e5; });
  is_refused(system, "cutoff", [&](auto& request) { request.cutoff = nan; });
  is_refused(system, "skin", [](auto& request) { request.skin = -1; });
  is_refused(system, "n_partitions", [](auto& request) { request.n_partitions = 1'000'000'000; });
}

void weights_of_all_sizes(const System& system) {
  for (const double weight : {0.0, 5e-324, 1e308}) {
    const std::vector<double> weights(system.n_atoms(), weight);
    for (const auto method : {cut::Method::slab, cut::Method::bisection}) {
      partition::Request request;
      request.positions = system.positions.data();
      request.n_atoms = system.n_atoms();
      request.cell = system.cell;
      request.cutoff = request.bond_cutoff = system.cutoff;
      request.n_partitions = 7;
      request.weights = weights.data();
      request.method = method;
      const auto cut = partition::decompose(request);
      for (const int32_t owner : cut.owner) require(owner >= 0 && owner < 7, "owners exist");
      check_plans(cut, graphs_of(cut, system.positions));
    }
  }
}

}  // namespace

int main(int n_arguments, char** arguments) {
  const bool is_short = n_arguments > 1 && std::string_view(arguments[1]) == "short";
  const auto all = systems();
  std::vector<System> chosen;
  std::copy_if(all.begin(), all.end(), std::back_inserter(chosen),
               [is_short](const System& system) { return !is_short || system.n_atoms() <= 500; });
  std::string at = "start";
  try {
    for (const System& system : chosen) {
      at = system.name;
      partitions_and_threads_change_nothing(system);
      neighbor_list_has_as_many_pairs(system);
    }
    at = "bad input";
    bad_input_is_refused(all);
    at = "many callers";
    many_callers_at_once(chosen, all[is_short ? 14 : 13]);
    at = "weights";
    weights_of_all_sizes(all[10]);
  } catch (const std::exception& error) {
    std::printf("FAILED at %s: %s\n", at.c_str(), error.what());
    return 1;
  }
  std::printf("passed\n");
  return 0;
}
