"""Export of frozen models: TorchScript and ONNX, parity, latency profile, package."""
