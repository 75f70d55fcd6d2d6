"""The proof that a part of a graph is FRN.

anchor.py      where to look: every reduction, and the tensors x it may belong to
trace.py       what is computed from x, node by node, in the algebra of form.py
match.py       the tensors that are FRN of x, and those that only look like it
form.py        the algebra; axes.py: where x's axes are, and sizes that are products of theirs
rules.py       what each ONNX op does in the algebra, in rules_*.py; values.py: what a rule sees
constants.py   what is constant in a graph; shapes.py: what is known of shapes
leftovers.py   what looks like FRN and left the algebra; other_norms.py: what equals it in part
"""
