"""Serving ONNX models over the Open Inference Protocol (V2, REST, binary tensors).

One core, two hosts:

========== ====================================================================================
core       ``model`` (session and signature), ``codec`` (V2 <-> arrays), ``batcher`` (greedy),
           ``app`` (the HTTP interface), ``metrics``
hosts      ``embedded`` (Starlette on uvicorn, one process), ``ray_host`` (Ray Serve)
beside     ``triton`` writes a repository for Triton Inference Server
========== ====================================================================================
"""
