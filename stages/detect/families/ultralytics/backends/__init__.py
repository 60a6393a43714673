"""Ways to run a detector: PyTorch, ONNX Runtime, OpenVINO. All give the same boxes but for the last digits."""
