#include "native/device/convolution.h"

#include <ATen/ATen.h>
#include <c10/core/DeviceGuard.h>

#include <set>

#include "executor/device.h"
#include "native/device/inputs.h"

namespace distmlip::native {

namespace {

template <class Real>
kernels::ConvolvedEdges<Real> inputs_of(const DeviceEdges& edges, const at::Tensor& rows,
                                        const at::Tensor& weights, const at::Tensor& couplings) {
  return {edges.n_rows,
          edges.n_edges(),
          edges.row_begin(),
          edges.senders(),
          rows.const_data_ptr<Real>(),
          weights.const_data_ptr<Real>(),
          couplings.const_data_ptr<Real>()};
}

}  // namespace

DeviceConvolution::DeviceConvolution(const Irreps& senders, const Irreps& message,
                                     const std::vector<Path>& paths, at::Device device) {
  const std::vector<Place> from = places("senders", senders, lists_.sender_width);
  const std::vector<Place> to = places("the message", message, lists_.message_width);
  for (const Path& path : paths) add(path, from, to);
  std::set<int32_t> written;
  for (const kernels::PathOfDevice& path : paths_)
    for (int32_t c = 0; c < path.channels; ++c)
      if (!written.insert(path.message + c).second)
        invalid("two paths write to the same channel of a message");
  fill_lists(from, device);
}

std::vector<DeviceConvolution::Place> DeviceConvolution::places(const char* name, const Irreps& irreps,
                                                                int64_t& width) {
  constexpr int largest_degree = (kernels::most_components - 1) / 2;
  std::vector<Place> all;
  for (const auto& [degree, channels] : irreps) {
    if (degree < 0 || degree > largest_degree || channels < 1)
      invalid("irreps of ", name, " have ", channels, " channels of degree ", degree,
              "; at least one, and up to ", largest_degree, ", are known");
    all.push_back({static_cast<int32_t>(width), 2 * degree + 1, channels});
    width += channels * (2 * degree + 1);
  }
  return all;
}

void DeviceConvolution::add(const Path& path, const std::vector<Place>& from, const std::vector<Place>& to) {
  if (path.from < 0 || path.from >= static_cast<int>(from.size()) || path.to < 0 ||
      path.to >= static_cast<int>(to.size()))
    invalid("a path from irrep ", path.from, " of ", from.size(), " to irrep ", path.to, " of ", to.size());
  const Place &in = from[static_cast<size_t>(path.from)], &out = to[static_cast<size_t>(path.to)];
  if (path.first_channel < 0 || path.first_channel + in.channels > out.channels)
    invalid("a path to channels ", path.first_channel, " to ", path.first_channel + in.channels, " of ",
            out.channels);
  paths_.push_back({in.size, out.size, in.channels, in.first, out.first + path.first_channel, out.channels,
                    static_cast<int32_t>(lists_.n_weights), static_cast<int32_t>(lists_.n_couplings)});
  lists_.n_weights += in.channels;
  lists_.n_couplings += in.size * out.size;
}

void DeviceConvolution::fill_lists(const std::vector<Place>& from, at::Device device) {
  std::stable_sort(paths_.begin(), paths_.end(),
                   [](const auto& a, const auto& b) { return a.sender < b.sender; });
  std::vector<int32_t> of_weight(static_cast<size_t>(lists_.n_weights)), of_channel, element;
  for (size_t p = 0; p < paths_.size(); ++p)
    std::fill_n(of_weight.begin() + paths_[p].weight, paths_[p].channels, static_cast<int32_t>(p));
  for (const Place& place : from) {
    const auto first = std::find_if(paths_.begin(), paths_.end(),
                                    [&](const auto& path) { return path.sender == place.first; });
    const auto number = static_cast<int32_t>(first - paths_.begin());
    of_channel.insert(of_channel.end(), static_cast<size_t>(place.channels),
                      first == paths_.end() ? -1 : number);
    for (int32_t c = 0; c < place.channels; ++c) element.push_back(place.first + c);
  }
  lists_.n = static_cast<int32_t>(paths_.size());
  lists_.n_channels = static_cast<int64_t>(element.size());
  memory_ = {bytes_of(paths_, device), bytes_of(of_weight, device), bytes_of(of_channel, device),
             bytes_of(element, device)};
  lists_.all = list_in<kernels::PathOfDevice>(memory_[0]);
  lists_.of_weight = list_in<int32_t>(memory_[1]);
  lists_.of_channel = list_in<int32_t>(memory_[2]);
  lists_.element = list_in<int32_t>(memory_[3]);
}

void DeviceConvolution::check_inputs(const DeviceEdges& edges, const at::Tensor& rows,
                                     const at::Tensor& weights, const at::Tensor& couplings) const {
  const at::Device device = memory_[0].device();
  if (rows.device() != device || edges.device() != device)
    invalid("rows are on ", rows.device().str(), " and edges on ", edges.device().str(),
            ", but the convolution is on ", device.str());
  check("rows", rows, {edges.n_local, lists_.sender_width}, rows);
  check("weights", weights, {edges.n_edges(), lists_.n_weights}, rows);
  check("couplings", couplings, {edges.n_edges(), lists_.n_couplings}, rows);
}

at::Tensor DeviceConvolution::forward(const DeviceEdges& edges, const at::Tensor& rows,
                                      const at::Tensor& weights, const at::Tensor& couplings) const {
  check_inputs(edges, rows, weights, couplings);
  at::Tensor messages = at::empty({edges.n_rows, lists_.message_width}, rows.options());
  const c10::DeviceGuard guard(rows.device());
  of_type(rows, [&]<class Real>(Real /*type*/) {
    executor::operators_on<Real>(rows.device())
        ->convolve(lists_, inputs_of<Real>(edges, rows, weights, couplings),
                   messages.mutable_data_ptr<Real>());
  });
  return messages;
}

std::array<at::Tensor, 3> DeviceConvolution::backward(const DeviceEdges& edges, const at::Tensor& rows,
                                                      const at::Tensor& weights, const at::Tensor& couplings,
                                                      const at::Tensor& gradients) const {
  check_inputs(edges, rows, weights, couplings);
  check("gradients", gradients, {edges.n_rows, lists_.message_width}, rows);
  std::array<at::Tensor, 3> out{at::empty_like(rows), at::empty_like(weights), at::empty_like(couplings)};
  const c10::DeviceGuard guard(rows.device());
  of_type(rows, [&]<class Real>(Real /*type*/) {
    executor::operators_on<Real>(rows.device())
        ->convolve_back(lists_, inputs_of<Real>(edges, rows, weights, couplings), edges.sent(),
                        edges.receivers(), gradients.const_data_ptr<Real>(),
                        {out[0].mutable_data_ptr<Real>(), out[1].mutable_data_ptr<Real>(),
                         out[2].mutable_data_ptr<Real>()});
  });
  return out;
}

}  // namespace distmlip::native
