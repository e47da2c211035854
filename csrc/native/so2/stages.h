// Convolutions of eSEN and UMA as stages (distmlip/models/fairchem/native.py says what crosses them).
#pragma once

#include <memory>
#include <mutex>

#include "executor/native_stage.h"
#include "native/so2/parameters.h"

namespace distmlip::native::so2 {

/// A stage whose layers can be given anew, while none of its runs is under way. Those before go back through
/// the layers that they ran through.
class ConvolutionStage : public executor::NativeStage {
 public:
  /// Throws std::invalid_argument for layers that do not fit.
  virtual void use(const LayerParameters& layers) = 0;
};

/// From "atoms" (n_local, rows, channels) and "kept", ascending indices of edges, to "messages" (n_owned,
/// rows, channels). It has no layers at first.
std::shared_ptr<ConvolutionStage> convolution_stage(bool is_double, const ConvolutionParameters& parameters);

/// From "kept" to "degrees" (n_owned, rows, channels).
std::shared_ptr<executor::NativeStage> degree_stage(bool is_double, const EdgeParameters& parameters);

}  // namespace distmlip::native::so2
