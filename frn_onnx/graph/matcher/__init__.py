"""The proof that a part of a graph is FRN.

anchor.py      where to look: every reduction, and the tensors x it may belong to
trace.py       what is computed from x, node by node, in the algebra of form.py
match.py       the tensors that are FRN of x, and those that only look like it
form.py        the algebra; axes.py and sizes.py: where x's axes are, and how large they may be
rules.py       what each ONNX op does in the algebra, in rules_*.py
constants.py   what is constant in a graph; shapes.py: what is known of shapes
"""
