// Who owns which atom: decided from positions, before there are edges.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/buffer.h"
#include "cut/input.h"

namespace distmlip::cut {

enum class Method {
  automatic,  // slab while slabs are thick compared with the system's width, else bisection
  slab,       // parallel cuts across the longest axis
  bisection,  // cuts in two, again and again; the pieces then made rounder where that shortens their borders
};

std::string name_of(Method method);

/// Of all methods.
std::vector<std::string> method_names();

/// Throws std::invalid_argument for other names.
Method method_named(const std::string& name);

struct Cut {
  Buffer<int32_t> owner;  // (n_atoms)
  Method method;          // slab or bisection: what was used
};

/// Gives every atom an owner in [0, n_partitions) such that all partitions have nearly the same weight: the
/// heaviest has at most 1.03 times the mean where atoms are light compared with a partition. Partitions may
/// be empty if there are fewer atoms than partitions, or few that have weight.
Cut make_cut(const Input& input, int32_t n_partitions, Method method);

}  // namespace distmlip::cut
