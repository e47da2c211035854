#include "native/device/gated_messages.h"

#include <ATen/ATen.h>
#include <c10/core/DeviceGuard.h>

#include "executor/device.h"
#include "native/device/inputs.h"

namespace distmlip::native {

using kernels::most_gated_channels;

DeviceMessages::DeviceMessages(const Index& to, const std::vector<Index>& of_sums,
                               const std::vector<Index>& of_weights)
    : receivers("receivers", to.first, to.second) {
  if (of_sums.empty() || of_sums.size() > kernels::most_gated_tables || of_weights.size() > 2)
    invalid(of_sums.size(), " tables of sums and ", of_weights.size(), " of weights; one to ",
            kernels::most_gated_tables, " and up to 2 are known");
  for (const auto& [n, index] : of_sums) sums.emplace_back("rows of sums", n, index);
  for (const auto& [n, index] : of_weights) weights.emplace_back("rows of weights", n, index);
  for (const auto* indices : {&sums, &weights})
    for (const DeviceIndex& of : *indices) check("rows of tables", of.index, {n_rows()}, receivers.index);
}

DeviceGate::DeviceGate(int64_t channels, const std::optional<Hidden>& hidden, const std::optional<Norm>& norm)
    : channels_(channels), hidden_(hidden), norm_(norm) {
  if (channels < 1 || channels > most_gated_channels)
    invalid(channels, " channels; one to ", most_gated_channels, " are known");
  if (hidden) {
    const at::Tensor& layers = hidden->layers;
    if (layers.dim() != 3 || layers.size(1) < 1 || layers.size(1) > most_gated_channels)
      invalid("hidden layers must have the shape (2, hidden, ", channels, ") with one to ",
              most_gated_channels, " hidden channels");
    check("hidden layers", layers, {2, layers.size(1), channels}, layers);
    check("bias", hidden->bias, {2, channels}, layers);
    transposed_ = layers.transpose(1, 2).contiguous();
  }
  if (norm) {
    check("scales", norm->scales, {2, channels}, hidden ? hidden->bias : norm->scales);
    check("shifts", norm->shifts, {2, channels}, norm->scales);
  }
}

void DeviceGate::check_inputs(const DeviceMessages& rows, const std::vector<at::Tensor>& tables,
                              const std::vector<at::Tensor>& weights) const {
  if (tables.size() != rows.sums.size() || weights.size() != rows.weights.size())
    invalid(tables.size(), " tables and ", weights.size(), " weights for indices of ", rows.sums.size(),
            " and ", rows.weights.size());
  const at::Tensor& like = hidden_ ? hidden_->layers : norm_ ? norm_->scales : tables[0];
  if (like.device() != rows.receivers.index.device())
    invalid("tables are on ", like.device().str(), ", rows on ", rows.receivers.index.device().str());
  for (size_t k = 0; k < tables.size(); ++k) check("tables", tables[k], {rows.sums[k].n, width()}, like);
  for (size_t k = 0; k < weights.size(); ++k)
    check("weights", weights[k], {rows.weights[k].n, channels_}, like);
}

template <class Real>
kernels::GatedRows<Real> DeviceGate::gated(const DeviceMessages& rows,
                                           const std::vector<at::Tensor>& tables) const {
  kernels::GatedRows<Real> gated{};
  gated.n_rows = rows.n_rows();
  gated.n_tables = static_cast<int32_t>(tables.size());
  for (size_t k = 0; k < tables.size(); ++k) {
    gated.tables[k] = tables[k].const_data_ptr<Real>();
    gated.index[k] = rows.sums[k].index.const_data_ptr<int64_t>();
  }
  gated.n_hidden = static_cast<int32_t>(width() / 2);
  gated.n_channels = static_cast<int32_t>(channels_);
  if (hidden_) {
    gated.hidden = hidden_->layers.const_data_ptr<Real>();
    gated.transposed = transposed_.const_data_ptr<Real>();
    gated.bias = hidden_->bias.const_data_ptr<Real>();
  }
  if (norm_) {
    gated.scales = norm_->scales.const_data_ptr<Real>();
    gated.shifts = norm_->shifts.const_data_ptr<Real>();
    gated.epsilon = static_cast<Real>(norm_->epsilon);
  }
  return gated;
}

namespace {

/// All weights, or all but one of them.
template <class Real>
kernels::MessageWeights<Real> weights_of(const DeviceMessages& rows, const std::vector<at::Tensor>& weights,
                                         size_t without = 2) {
  kernels::MessageWeights<Real> of{};
  for (size_t k = 0; k < weights.size(); ++k) {
    if (k == without) continue;
    of.tables[of.n] = weights[k].const_data_ptr<Real>();
    of.index[of.n++] = rows.weights[k].index.const_data_ptr<int64_t>();
  }
  return of;
}

}  // namespace

at::Tensor DeviceGate::forward(const DeviceMessages& rows, const std::vector<at::Tensor>& tables,
                               const std::vector<at::Tensor>& weights) const {
  check_inputs(rows, tables, weights);
  const auto options = tables[0].options();
  at::Tensor of_rows = at::empty({rows.n_rows(), channels_}, options);
  at::Tensor messages = at::empty({rows.receivers.n, channels_}, options);
  const c10::DeviceGuard guard(messages.device());
  of_type(messages, [&]<class Real>(Real /*type*/) {
    const auto operators = executor::operators_on<Real>(messages.device());
    operators->gate(gated<Real>(rows, tables), of_rows.mutable_data_ptr<Real>());
    operators->sum_rows(rows.receivers.order(), static_cast<int32_t>(channels_),
                        of_rows.const_data_ptr<Real>(), weights_of<Real>(rows, weights),
                        messages.mutable_data_ptr<Real>());
  });
  return messages;
}

std::pair<std::vector<at::Tensor>, std::vector<at::Tensor>> DeviceGate::backward(
    const DeviceMessages& rows, const std::vector<at::Tensor>& tables, const std::vector<at::Tensor>& weights,
    const at::Tensor& gradients) const {
  check_inputs(rows, tables, weights);
  check("gradients", gradients, {rows.receivers.n, channels_}, tables[0]);
  at::Tensor of_sums = at::empty({rows.n_rows(), width()}, gradients.options());
  at::Tensor products = at::empty({rows.n_rows(), channels_}, gradients.options());
  std::vector<at::Tensor> of_tables, of_weights;
  const c10::DeviceGuard guard(gradients.device());
  of_type(gradients, [&]<class Real>(Real /*type*/) {
    const auto operators = executor::operators_on<Real>(gradients.device());
    operators->gate_back(gated<Real>(rows, tables), weights_of<Real>(rows, weights),
                         gradients.const_data_ptr<Real>(), rows.receivers.index.const_data_ptr<int64_t>(),
                         of_sums.mutable_data_ptr<Real>(), products.mutable_data_ptr<Real>());
    const auto summed = [&](const DeviceIndex& to, const at::Tensor& from, const at::Tensor& like,
                            const kernels::MessageWeights<Real>& by) {
      at::Tensor out = at::empty_like(like);
      operators->sum_rows(to.order(), static_cast<int32_t>(from.size(1)), from.const_data_ptr<Real>(), by,
                          out.mutable_data_ptr<Real>());
      return out;
    };
    for (size_t k = 0; k < tables.size(); ++k)
      of_tables.push_back(summed(rows.sums[k], of_sums, tables[k], {}));
    for (size_t k = 0; k < weights.size(); ++k)
      of_weights.push_back(summed(rows.weights[k], products, weights[k], weights_of<Real>(rows, weights, k)));
  });
  return {of_tables, of_weights};
}

}  // namespace distmlip::native
