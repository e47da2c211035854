// Takes rows from pool to pool: between devices, or between ranks.
#pragma once

#include <vector>

#include "exchange/group.h"
#include "exchange/rows.h"

namespace distmlip::exchange {

/// Brings what every pool has for its peers to them, in one message from each to each for all exchanges.
/// exchanges[k]: one parcel per pool. `ranks`: null if the peers are the pools of this process.
void send(std::vector<std::vector<Parcel>>& exchanges, RankGroup* ranks);

}  // namespace distmlip::exchange
