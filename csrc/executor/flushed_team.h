// Fast arithmetic where the calling thread is not ours.
#pragma once

#include <vector>

#include "core/subnormals.h"

namespace distmlip::executor {

/// While an object lives, the thread that made it and this thread's intra-op threads take subnormal numbers
/// for zero. Afterwards each treats them as before. It must end on the thread that made it, and before the
/// number of intra-op threads is lowered.
class FlushedTeam {
 public:
  FlushedTeam();
  ~FlushedTeam();
  FlushedTeam(const FlushedTeam&) = delete;
  FlushedTeam& operator=(const FlushedTeam&) = delete;

 private:
  std::vector<SubnormalBits> before_;  // by number of the thread in the team; 0: the calling thread
};

}  // namespace distmlip::executor
