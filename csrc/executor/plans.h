// The exchange plans of a decomposition and of one of its steps.
#pragma once

#include <cstdint>
#include <vector>

#include "exchange/exchange.h"
#include "partition/decomposition.h"

namespace distmlip::executor {

/// The plan of atom rows: each partition reads its halo.
exchange::RowPlan plan_atoms(const partition::Decomposition& decomposition,
                             const std::vector<at::Device>& devices);

/// The plan of cut bonds, for tensors with one row per cut bond: each reads its copy.
exchange::RowPlan plan_cut_bonds(const std::vector<partition::StepGraph>& graphs,
                                 const std::vector<at::Device>& devices);

}  // namespace distmlip::executor
