#include "aliases.h"

#include <ATen/ATen.h>

namespace ordered {

namespace {

at::Tensor like(const at::Tensor& tensor, const c10::Storage& storage, c10::DispatchKey key) {
  auto made = at::detail::make_tensor<c10::TensorImpl>(c10::Storage(storage), c10::DispatchKeySet(key),
                                                       tensor.dtype());
  auto* impl = made.unsafeGetTensorImpl();
  impl->set_storage_offset(tensor.storage_offset());
  impl->set_sizes_and_strides(tensor.sizes(), tensor.strides());
  if (tensor.unsafeGetTensorImpl()->is_wrapped_number()) impl->set_wrapped_number(true);
  if (tensor.is_conj()) made._set_conj(true);
  if (tensor.is_neg()) made._set_neg(true);
  return made;
}

}  // namespace

at::Tensor Aliases::of(const at::Tensor& tensor) {
  if (!here(tensor)) return tensor;
  const c10::Storage& storage = tensor.storage();
  auto& pair = storages_[storage.unsafeGetStorageImpl()];
  if (!pair.second) {
    pair.first = storage;
    pair.second = c10::Storage(c10::Storage::use_byte_size_t(), storage.nbytes(),
                               c10::DataPtr(
                                   touchable(storage.data()), nullptr, [](void*) {}, c10::Device(c10::kCPU)),
                               c10::GetAllocator(c10::kCPU), /*resizable=*/true);
  }
  return like(tensor, pair.second, c10::DispatchKey::CPU);
}

std::optional<at::Tensor> Aliases::view(const at::Tensor& result) const {
  for (const auto& [_, pair] : storages_)
    if (result.storage().unsafeGetStorageImpl() == pair.second.unsafeGetStorageImpl())
      return like(result, pair.first, c10::DispatchKey::PrivateUse1);
  return std::nullopt;
}

void touch(const at::Tensor& tensor, const Access& work, bool write) {
  if (!tensor.defined() || tensor.numel() == 0) return;
  Block* block = block_of(tensor.storage().data_ptr());
  if (block == nullptr) return;
  int64_t last = 0;
  for (int64_t k = 0; k < tensor.dim(); ++k) last += (tensor.size(k) - 1) * tensor.stride(k);
  const auto begin = static_cast<size_t>(tensor.storage_offset()) * tensor.element_size();
  Order::the().access(*block, work, begin, begin + static_cast<size_t>(last + 1) * tensor.element_size(),
                      write);
}

}  // namespace ordered
