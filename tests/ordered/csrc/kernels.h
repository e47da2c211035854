// What distmlip calls when it runs its own kernels (kernels::Watch), on the calling thread.
#pragma once

#include <string>

namespace ordered {

void begin_kernel(const std::string& name);
void end_kernel();
void wait_for_kernels();

}  // namespace ordered
