// The exchange plans of a decomposition and of one of its steps.
#pragma once

#include <cstdint>
#include <vector>

#include "exchange/exchange.h"
#include "executor/remote_rows.h"
#include "partition/decomposition.h"

namespace distmlip::executor {

/// The plan of atom rows: each partition reads its halo. `others`: null if all partitions are in this
/// process; else every rank makes its plan at the same time.
exchange::RowPlan plan_atoms(const partition::Decomposition& decomposition,
                             const std::vector<at::Device>& devices, const Others* others);

/// The plan of cut bonds, for tensors with one row per cut bond: each reads its copy. No rank needs to ask
/// another one: both list the bonds across their border in the same order.
exchange::RowPlan plan_cut_bonds(const std::vector<partition::StepGraph>& graphs,
                                 const std::vector<at::Device>& devices, const Others* others);

}  // namespace distmlip::executor
