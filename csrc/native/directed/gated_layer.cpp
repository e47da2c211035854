#include "native/directed/gated_layer.h"

#include "native/gated/matrices.h"

namespace distmlip::native::directed {

template <class T>
GatedLayer<T>::GatedLayer(const Operators<T>& operators, const LayerParameters& parameters,
                          std::span<const int> source_channels, int own, int outputs)
    : outputs_(outputs),
      own_(operators, parameters.own, parameters.sources.empty() ? parameters.bias : std::vector<double>()),
      perceptron_(operators, parameters.perceptron, outputs, parameters.own.columns) {
  gated::require(parameters.own, own, sums(), "own");
  if (parameters.sources.size() != source_channels.size())
    invalid("a layer with ", parameters.sources.size(), " sources; it must have ", source_channels.size());
  for (size_t k = 0; k < source_channels.size(); ++k) {
    gated::require(parameters.sources[k], source_channels[k], sums(), "a source");
    sources_.emplace_back(operators, parameters.sources[k], k == 0 ? parameters.bias : std::vector<double>());
  }
}

template <class T>
typename GatedLayer<T>::Memory GatedLayer<T>::memory() const {
  Memory memory;
  memory.perceptron = perceptron_.memory();
  memory.own.resize(static_cast<size_t>(rows_per_block * sums() + slack));
  return memory;
}

template class GatedLayer<float>;
template class GatedLayer<double>;

}  // namespace distmlip::native::directed
