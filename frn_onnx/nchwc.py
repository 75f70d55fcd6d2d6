"""ONNX Runtime's blocked layout of convolutions (NCHWc).

Graphs and sessions both meet it. It is named here, beside them, since a session that starts from
its cache imports nothing that changes graphs.
"""

# The domain of blocked ops.
DOMAIN = "com.microsoft.nchwc"
