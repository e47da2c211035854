// The exchange primitives as differentiable torch operators, for training and for loops of other people:
//
//   torch.ops.distmlip.gather, halo, fold, swap(Tensor[] x, *plan) -> Tensor[]
//   torch.ops.distmlip.scatter(Tensor[] y, *plan, SymInt[] n_rows) -> Tensor[]
//   torch.ops.distmlip.add(Tensor[] x, *plan, Tensor[] rows) -> Tensor[]
//   torch.ops.distmlip.all_sum(Tensor[] x) -> Tensor[]
//
// The backward of each is another of them, so they can be differentiated any number of times. A plan is
// passed as the plain members of RowPlan (Tensor[] sources, int[] pools, Tensor[] imports), which is what
// opcheck and torch.compile understand. On a single device the last two may be empty, and sources are rows of
// the concatenation of x.
#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "exchange/exchange.h"

namespace distmlip::exchange {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

RowPlan checked_plan(at::TensorList x, at::TensorList sources, at::IntArrayRef pools,
                     at::TensorList imports) {
  RowPlan plan{sources.vec(), pools.vec(), imports.vec()};
  check(plan, x.vec());
  return plan;
}

PerPartition gather_kernel(at::TensorList x, at::TensorList sources, at::IntArrayRef pools,
                           at::TensorList imports) {
  return gather(checked_plan(x, sources, pools, imports), x.vec());
}
PerPartition halo_kernel(at::TensorList x, at::TensorList sources, at::IntArrayRef pools,
                         at::TensorList imports) {
  return halo(checked_plan(x, sources, pools, imports), x.vec());
}
PerPartition fold_kernel(at::TensorList y, at::TensorList sources, at::IntArrayRef pools,
                         at::TensorList imports) {
  return fold(checked_plan(y, sources, pools, imports), y.vec());
}
PerPartition swap_kernel(at::TensorList x, at::TensorList sources, at::IntArrayRef pools,
                         at::TensorList imports) {
  return swap(checked_plan(x, sources, pools, imports), x.vec());
}
PerPartition scatter_kernel(at::TensorList y, at::TensorList sources, at::IntArrayRef pools,
                            at::TensorList imports, c10::SymIntArrayRef n_rows) {
  const RowPlan plan = checked_plan(y, sources, pools, imports);
  TORCH_CHECK_VALUE(n_rows.size() == y.size(), "n_rows has ", n_rows.size(), " entries for ", y.size(),
                    " partitions");
  return scatter(plan, y.vec(), n_rows);
}
PerPartition add_kernel(at::TensorList x, at::TensorList sources, at::IntArrayRef pools,
                        at::TensorList imports, at::TensorList rows) {
  const RowPlan plan = checked_plan(x, sources, pools, imports);
  TORCH_CHECK_VALUE(rows.size() == x.size(), "rows has ", rows.size(), " entries for ", x.size(),
                    " partitions");
  return add(plan, rows.vec(), x.vec());
}
PerPartition all_sum_kernel(at::TensorList x) { return all_sum(x.vec()); }

/// Calls an operator through the dispatcher, so that a backward can itself be differentiated.
template <class Signature, class... Arguments>
PerPartition dispatch(const char* name, const Arguments&... arguments) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, "").typed<Signature>().call(arguments...);
}
using Unary = PerPartition(at::TensorList, at::TensorList, at::IntArrayRef, at::TensorList);
using Sized = PerPartition(at::TensorList, at::TensorList, at::IntArrayRef, at::TensorList,
                           c10::SymIntArrayRef);
using OnRows = PerPartition(at::TensorList, at::TensorList, at::IntArrayRef, at::TensorList, at::TensorList);

PerPartition call_halo(at::TensorList x, at::TensorList sources, at::IntArrayRef pools,
                       at::TensorList imports) {
  return dispatch<Unary>("distmlip::halo", x, sources, pools, imports);
}
PerPartition call_fold(at::TensorList y, at::TensorList sources, at::IntArrayRef pools,
                       at::TensorList imports) {
  return dispatch<Unary>("distmlip::fold", y, sources, pools, imports);
}
PerPartition call_swap(at::TensorList x, at::TensorList sources, at::IntArrayRef pools,
                       at::TensorList imports) {
  return dispatch<Unary>("distmlip::swap", x, sources, pools, imports);
}
PerPartition call_gather(at::TensorList x, at::TensorList sources, at::IntArrayRef pools,
                         at::TensorList imports) {
  return dispatch<Unary>("distmlip::gather", x, sources, pools, imports);
}
PerPartition call_scatter(at::TensorList y, at::TensorList sources, at::IntArrayRef pools,
                          at::TensorList imports, c10::SymIntArrayRef n_rows) {
  return dispatch<Sized>("distmlip::scatter", y, sources, pools, imports, n_rows);
}
PerPartition call_add(at::TensorList x, at::TensorList sources, at::IntArrayRef pools, at::TensorList imports,
                      at::TensorList rows) {
  return dispatch<OnRows>("distmlip::add", x, sources, pools, imports, rows);
}
PerPartition call_all_sum(at::TensorList x) {
  return dispatch<PerPartition(at::TensorList)>("distmlip::all_sum", x);
}

/// The tensors of a plan, kept for the backward: one after another.
class SavedPlan {
 public:
  static void save(AutogradContext* context, at::TensorList sources, at::IntArrayRef pools,
                   at::TensorList imports, at::TensorList rows = {}) {
    PerPartition all = sources.vec();
    all.insert(all.end(), imports.begin(), imports.end());
    all.insert(all.end(), rows.begin(), rows.end());
    context->save_for_backward(all);
    context->saved_data["pools"] = pools.vec();
  }

  /// n_rows: how many tensors were saved as `rows`.
  SavedPlan(AutogradContext* context, size_t n_partitions, size_t n_rows = 0)
      : all_(context->get_saved_variables()),
        pools_(context->saved_data["pools"].toIntVector()),
        n_partitions_(n_partitions),
        n_rows_(n_rows) {}

  at::TensorList sources() const { return at::TensorList(all_).slice(0, n_partitions_); }
  at::IntArrayRef pools() const { return pools_; }
  at::TensorList imports() const {
    return at::TensorList(all_).slice(n_partitions_, all_.size() - n_partitions_ - n_rows_);
  }
  at::TensorList rows() const { return at::TensorList(all_).slice(all_.size() - n_rows_, n_rows_); }

  /// The gradients of P tensors, followed by none for those of the plan, for pools, and `n_other` further
  /// arguments.
  variable_list padded(PerPartition gradients, size_t n_other = 0) const {
    gradients.resize(gradients.size() + all_.size() + 1 + n_other);
    return gradients;
  }

 private:
  variable_list all_;
  std::vector<int64_t> pools_;
  size_t n_partitions_, n_rows_;
};

/// An operator of (x, plan) whose adjoint is another one of that signature.
template <auto Operator, auto Adjoint>
struct UnaryFunction : torch::autograd::Function<UnaryFunction<Operator, Adjoint>> {
  static variable_list forward(AutogradContext* context, at::TensorList x, at::TensorList sources,
                               at::IntArrayRef pools, at::TensorList imports) {
    at::AutoDispatchBelowADInplaceOrView guard;
    SavedPlan::save(context, sources, pools, imports);
    return Operator(x, sources, pools, imports);
  }
  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const SavedPlan plan(context, gradients.size());
    return plan.padded(Adjoint(gradients, plan.sources(), plan.pools(), plan.imports()));
  }
};

struct GatherFunction : torch::autograd::Function<GatherFunction> {
  static variable_list forward(AutogradContext* context, at::TensorList x, at::TensorList sources,
                               at::IntArrayRef pools, at::TensorList imports) {
    at::AutoDispatchBelowADInplaceOrView guard;
    SavedPlan::save(context, sources, pools, imports);
    std::vector<c10::SymInt> n_rows;
    for (const auto& tensor : x) {
      n_rows.push_back(tensor.sym_size(0));
    }
    context->saved_data["n_rows"] = n_rows;
    return call_gather(x, sources, pools, imports);
  }
  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const SavedPlan plan(context, gradients.size());
    const auto n_rows = context->saved_data["n_rows"].toSymIntVector();
    return plan.padded(call_scatter(gradients, plan.sources(), plan.pools(), plan.imports(), n_rows));
  }
};

struct ScatterFunction : torch::autograd::Function<ScatterFunction> {
  static variable_list forward(AutogradContext* context, at::TensorList y, at::TensorList sources,
                               at::IntArrayRef pools, at::TensorList imports, c10::SymIntArrayRef n_rows) {
    at::AutoDispatchBelowADInplaceOrView guard;
    SavedPlan::save(context, sources, pools, imports);
    return call_scatter(y, sources, pools, imports, n_rows);
  }
  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const SavedPlan plan(context, gradients.size());
    return plan.padded(call_gather(gradients, plan.sources(), plan.pools(), plan.imports()), 1);
  }
};

struct AddFunction : torch::autograd::Function<AddFunction> {
  static variable_list forward(AutogradContext* context, at::TensorList x, at::TensorList sources,
                               at::IntArrayRef pools, at::TensorList imports, at::TensorList rows) {
    at::AutoDispatchBelowADInplaceOrView guard;
    SavedPlan::save(context, sources, pools, imports, rows);
    return call_add(x, sources, pools, imports, rows);
  }
  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const SavedPlan plan(context, gradients.size(), gradients.size());
    return plan.padded(call_add(gradients, plan.sources(), plan.pools(), plan.imports(), plan.rows()));
  }
};

struct AllSumFunction : torch::autograd::Function<AllSumFunction> {
  static variable_list forward(AutogradContext*, at::TensorList x) {
    at::AutoDispatchBelowADInplaceOrView guard;
    return call_all_sum(x);
  }
  static variable_list backward(AutogradContext*, const variable_list& gradients) {
    return call_all_sum(gradients);
  }
};

PerPartition gather_autograd(at::TensorList x, at::TensorList sources, at::IntArrayRef pools,
                             at::TensorList imports) {
  return GatherFunction::apply(x, sources, pools, imports);
}
PerPartition scatter_autograd(at::TensorList y, at::TensorList sources, at::IntArrayRef pools,
                              at::TensorList imports, c10::SymIntArrayRef n_rows) {
  return ScatterFunction::apply(y, sources, pools, imports, n_rows);
}
template <auto Operator, auto Adjoint>
PerPartition unary_autograd(at::TensorList x, at::TensorList sources, at::IntArrayRef pools,
                            at::TensorList imports) {
  return UnaryFunction<Operator, Adjoint>::apply(x, sources, pools, imports);
}
PerPartition add_autograd(at::TensorList x, at::TensorList sources, at::IntArrayRef pools,
                          at::TensorList imports, at::TensorList rows) {
  return AddFunction::apply(x, sources, pools, imports, rows);
}
PerPartition all_sum_autograd(at::TensorList x) { return AllSumFunction::apply(x); }

void register_kernels(torch::Library& library) {
  library.impl("gather", &gather_kernel);
  library.impl("scatter", &scatter_kernel);
  library.impl("halo", &halo_kernel);
  library.impl("fold", &fold_kernel);
  library.impl("swap", &swap_kernel);
  library.impl("add", &add_kernel);
  library.impl("all_sum", &all_sum_kernel);
}

TORCH_LIBRARY(distmlip, library) {
  library.def("gather(Tensor[] x, Tensor[] sources, int[] pools, Tensor[] imports) -> Tensor[]");
  library.def("halo(Tensor[] x, Tensor[] sources, int[] pools, Tensor[] imports) -> Tensor[]");
  library.def("fold(Tensor[] x, Tensor[] sources, int[] pools, Tensor[] imports) -> Tensor[]");
  library.def("swap(Tensor[] x, Tensor[] sources, int[] pools, Tensor[] imports) -> Tensor[]");
  library.def(
      "scatter(Tensor[] y, Tensor[] sources, int[] pools, Tensor[] imports, SymInt[] n_rows) -> Tensor[]");
  library.def("add(Tensor[] x, Tensor[] sources, int[] pools, Tensor[] imports, Tensor[] rows) -> Tensor[]");
  library.def("all_sum(Tensor[] x) -> Tensor[]");
}
// The kernels are made of ATen operators, so one source serves every device.
TORCH_LIBRARY_IMPL(distmlip, CPU, library) { register_kernels(library); }
TORCH_LIBRARY_IMPL(distmlip, CUDA, library) { register_kernels(library); }
TORCH_LIBRARY_IMPL(distmlip, Meta, library) { register_kernels(library); }
TORCH_LIBRARY_IMPL(distmlip, Autograd, library) {
  library.impl("gather", &gather_autograd);
  library.impl("scatter", &scatter_autograd);
  library.impl("halo", &unary_autograd<&call_halo, &call_fold>);
  library.impl("fold", &unary_autograd<&call_fold, &call_halo>);
  library.impl("swap", &unary_autograd<&call_swap, &call_swap>);
  library.impl("add", &add_autograd);
  library.impl("all_sum", &all_sum_autograd);
}

}  // namespace
}  // namespace distmlip::exchange
