"""The mutation run over frn_onnx/graph: see run.py."""
