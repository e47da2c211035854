// distmlip's own kernels, for which the CPU stands in: what memory of the devices they touch, page by page.
//
// Nobody may touch the addresses that tensors hold (memory.h). While a kernel runs, a page that it reads or
// writes is opened for it when it first does, and written down; afterwards all are closed again.
#include "kernels.h"

#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <csignal>
#include <vector>

#include "memory.h"
#include "streams.h"

namespace ordered {
namespace {

struct Touched {
  char* page;
  bool write;
};

thread_local bool runs = false;
thread_local std::vector<Touched> touched;
thread_local Access work;

void open_page(int signal, siginfo_t* info, void* context) {
  auto* address = static_cast<char*>(info->si_addr);
  if (!runs || touchable(address) == address) {
    std::signal(signal, SIG_DFL);  // anybody else's fault happens again, and ends the process
    return;
  }
  constexpr int64_t kWriteFault = 2;  // of x86
  const auto* registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  const bool write = (registers[REG_ERR] & kWriteFault) != 0;
  char* page = address - reinterpret_cast<uintptr_t>(address) % kPage;
  mprotect(page, kPage, write ? PROT_READ | PROT_WRITE : PROT_READ);
  touched.push_back({page, write});
}

void take_faults() {
  struct sigaction action{};
  action.sa_sigaction = &open_page;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  sigaction(SIGSEGV, &action, nullptr);
}

}  // namespace

void begin_kernel(const std::string& name) {
  static const bool once = (take_faults(), true);
  (void)once;
  work = Order::the().launch(current_stream(current_device()), "own " + name);
  runs = true;
}

void end_kernel() {
  runs = false;
  Order& order = Order::the();
  for (const auto& [page, write] : touched) {
    mprotect(page, kPage, PROT_NONE);
    Block* block = device_block_at(page);
    TORCH_CHECK(block != nullptr, "a kernel has touched memory that nobody has asked for");
    if (block->device != current_device())
      order.report({"device", "own kernel", "", "block #" + std::to_string(block->number), "", "", ""});
    const auto begin = static_cast<size_t>(page - block->data);
    order.access(*block, work, begin, std::min(begin + kPage, block->size), write);
  }
  touched.clear();
}

void wait_for_kernels() {
  host_waits_for(Order::the().clock_of(current_stream(current_device())), "own kernel");
}

}  // namespace ordered
