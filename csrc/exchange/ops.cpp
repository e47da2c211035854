// The exchange primitives as differentiable torch operators, for training and for loops of other people:
//
//   torch.ops.distmlip.gather(Tensor[] x, Tensor[] rows, int[] counts) -> Tensor[]
//   torch.ops.distmlip.scatter(Tensor[] y, Tensor[] rows, int[] counts, SymInt[] n_rows) -> Tensor[]
//   torch.ops.distmlip.halo / fold / add (Tensor[] x, Tensor[] rows, int[] counts) -> Tensor[]
//   torch.ops.distmlip.swap(Tensor[] x, int[] counts) -> Tensor[]
//   torch.ops.distmlip.all_sum(Tensor[] x) -> Tensor[]
//
// The backward of each is another of them, so they can be differentiated any number of times. A plan is
// passed as plain tensors and counts (see RowPlan), which is what opcheck and torch.compile understand.
#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "exchange/exchange.h"

namespace distmlip::exchange {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

RowPlan checked_plan(const at::TensorList x, const at::TensorList rows, at::IntArrayRef counts) {
  RowPlan plan{rows.vec(), counts.vec()};
  check(plan, x.vec());
  return plan;
}

PerPartition gather_kernel(at::TensorList x, at::TensorList rows, at::IntArrayRef counts) {
  return gather(checked_plan(x, rows, counts), x.vec());
}
PerPartition scatter_kernel(at::TensorList y, at::TensorList rows, at::IntArrayRef counts,
                            c10::SymIntArrayRef n_rows) {
  const RowPlan plan = checked_plan(y, rows, counts);
  TORCH_CHECK_VALUE(n_rows.size() == y.size(), "n_rows has ", n_rows.size(), " entries for ", y.size(),
                    " partitions");
  return scatter(plan, y.vec(), n_rows);
}
PerPartition halo_kernel(at::TensorList x, at::TensorList rows, at::IntArrayRef counts) {
  return halo(checked_plan(x, rows, counts), x.vec());
}
PerPartition fold_kernel(at::TensorList y, at::TensorList rows, at::IntArrayRef counts) {
  return fold(checked_plan(y, rows, counts), y.vec());
}
PerPartition add_kernel(at::TensorList x, at::TensorList rows, at::IntArrayRef counts) {
  return add(checked_plan(x, rows, counts), x.vec());
}
PerPartition swap_kernel(at::TensorList x, at::IntArrayRef counts) { return swap(counts.vec(), x.vec()); }
PerPartition all_sum_kernel(at::TensorList x) { return all_sum(x.vec()); }

/// Calls an operator through the dispatcher, so that a backward can itself be differentiated.
template <class Signature, class... Arguments>
PerPartition dispatch(const char* name, const Arguments&... arguments) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, "").typed<Signature>().call(arguments...);
}
using Unary = PerPartition(at::TensorList, at::TensorList, at::IntArrayRef);
using Sized = PerPartition(at::TensorList, at::TensorList, at::IntArrayRef, c10::SymIntArrayRef);

PerPartition call_halo(at::TensorList x, at::TensorList rows, at::IntArrayRef counts) {
  return dispatch<Unary>("distmlip::halo", x, rows, counts);
}
PerPartition call_fold(at::TensorList y, at::TensorList rows, at::IntArrayRef counts) {
  return dispatch<Unary>("distmlip::fold", y, rows, counts);
}
PerPartition call_add(at::TensorList x, at::TensorList rows, at::IntArrayRef counts) {
  return dispatch<Unary>("distmlip::add", x, rows, counts);
}
PerPartition call_gather(at::TensorList x, at::TensorList rows, at::IntArrayRef counts) {
  return dispatch<Unary>("distmlip::gather", x, rows, counts);
}
PerPartition call_scatter(at::TensorList y, at::TensorList rows, at::IntArrayRef counts,
                          c10::SymIntArrayRef n_rows) {
  return dispatch<Sized>("distmlip::scatter", y, rows, counts, n_rows);
}
PerPartition call_swap(at::TensorList x, at::IntArrayRef counts) {
  return dispatch<PerPartition(at::TensorList, at::IntArrayRef)>("distmlip::swap", x, counts);
}
PerPartition call_all_sum(at::TensorList x) {
  return dispatch<PerPartition(at::TensorList)>("distmlip::all_sum", x);
}

void save_plan(AutogradContext* context, at::TensorList rows, at::IntArrayRef counts) {
  context->save_for_backward(rows.vec());
  context->saved_data["counts"] = counts.vec();
}

/// The gradients of P tensors, followed by none for their P plan tensors and the `n_other` further arguments.
variable_list padded(PerPartition gradients, size_t n_other) {
  gradients.resize(2 * gradients.size() + n_other);
  return gradients;
}

/// An operator of (x, rows, counts) whose adjoint is another one of that signature.
template <auto Operator, auto Adjoint>
struct UnaryFunction : torch::autograd::Function<UnaryFunction<Operator, Adjoint>> {
  static variable_list forward(AutogradContext* context, at::TensorList x, at::TensorList rows,
                               at::IntArrayRef counts) {
    at::AutoDispatchBelowADInplaceOrView guard;
    save_plan(context, rows, counts);
    return Operator(x, rows, counts);
  }
  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto counts = context->saved_data["counts"].toIntVector();
    return padded(Adjoint(gradients, context->get_saved_variables(), counts), 1);
  }
};

struct GatherFunction : torch::autograd::Function<GatherFunction> {
  static variable_list forward(AutogradContext* context, at::TensorList x, at::TensorList rows,
                               at::IntArrayRef counts) {
    at::AutoDispatchBelowADInplaceOrView guard;
    save_plan(context, rows, counts);
    std::vector<c10::SymInt> n_rows;
    for (const auto& tensor : x) {
      n_rows.push_back(tensor.sym_size(0));
    }
    context->saved_data["n_rows"] = n_rows;
    return call_gather(x, rows, counts);
  }
  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto counts = context->saved_data["counts"].toIntVector();
    const auto n_rows = context->saved_data["n_rows"].toSymIntVector();
    return padded(call_scatter(gradients, context->get_saved_variables(), counts, n_rows), 1);
  }
};

struct ScatterFunction : torch::autograd::Function<ScatterFunction> {
  static variable_list forward(AutogradContext* context, at::TensorList y, at::TensorList rows,
                               at::IntArrayRef counts, c10::SymIntArrayRef n_rows) {
    at::AutoDispatchBelowADInplaceOrView guard;
    save_plan(context, rows, counts);
    return call_scatter(y, rows, counts, n_rows);
  }
  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto counts = context->saved_data["counts"].toIntVector();
    return padded(call_gather(gradients, context->get_saved_variables(), counts), 2);
  }
};

struct SwapFunction : torch::autograd::Function<SwapFunction> {
  static variable_list forward(AutogradContext* context, at::TensorList x, at::IntArrayRef counts) {
    at::AutoDispatchBelowADInplaceOrView guard;
    context->saved_data["counts"] = counts.vec();
    return call_swap(x, counts);
  }
  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    variable_list result = call_swap(gradients, context->saved_data["counts"].toIntVector());
    result.emplace_back();
    return result;
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

PerPartition gather_autograd(at::TensorList x, at::TensorList rows, at::IntArrayRef counts) {
  return GatherFunction::apply(x, rows, counts);
}
PerPartition scatter_autograd(at::TensorList y, at::TensorList rows, at::IntArrayRef counts,
                              c10::SymIntArrayRef n_rows) {
  return ScatterFunction::apply(y, rows, counts, n_rows);
}
template <auto Operator, auto Adjoint>
PerPartition unary_autograd(at::TensorList x, at::TensorList rows, at::IntArrayRef counts) {
  return UnaryFunction<Operator, Adjoint>::apply(x, rows, counts);
}
PerPartition swap_autograd(at::TensorList x, at::IntArrayRef counts) {
  return SwapFunction::apply(x, counts);
}
PerPartition all_sum_autograd(at::TensorList x) { return AllSumFunction::apply(x); }

void register_kernels(torch::Library& library) {
  library.impl("gather", &gather_kernel);
  library.impl("scatter", &scatter_kernel);
  library.impl("halo", &halo_kernel);
  library.impl("fold", &fold_kernel);
  library.impl("add", &add_kernel);
  library.impl("swap", &swap_kernel);
  library.impl("all_sum", &all_sum_kernel);
}

TORCH_LIBRARY(distmlip, library) {
  library.def("gather(Tensor[] x, Tensor[] rows, int[] counts) -> Tensor[]");
  library.def("halo(Tensor[] x, Tensor[] rows, int[] counts) -> Tensor[]");
  library.def("fold(Tensor[] x, Tensor[] rows, int[] counts) -> Tensor[]");
  library.def("add(Tensor[] x, Tensor[] rows, int[] counts) -> Tensor[]");
  library.def("scatter(Tensor[] y, Tensor[] rows, int[] counts, SymInt[] n_rows) -> Tensor[]");
  library.def("swap(Tensor[] x, int[] counts) -> Tensor[]");
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
  library.impl("add", &unary_autograd<&call_add, &call_add>);
  library.impl("swap", &swap_autograd);
  library.impl("all_sum", &all_sum_autograd);
}

}  // namespace
}  // namespace distmlip::exchange
