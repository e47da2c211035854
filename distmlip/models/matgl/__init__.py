"""The architectures of matgl: TensorNet, QET, M3GNet, CHGNet."""
