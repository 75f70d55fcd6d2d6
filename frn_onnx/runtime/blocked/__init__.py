"""FRN inside the blocked layout that ONNX Runtime's convolutions use on CPUs.

ONNX Runtime runs Conv on tensors whose channels lie in blocks of 8 or 16 (NCHWc), and reorders the
tensor on both sides of every op that it does not know as one that can be blocked. Here its own
optimiser is led to take FRN for one that can; everything that is known of its internals is in this
package.

==============  ==============================================================
``standins``    each FRN node becomes an activation, with a mark in it
``optimised``   ONNX Runtime's optimiser runs, and blocks what it can
``restore``     the marks become FRN nodes again, of the layout that is there
``reorders``    FRN reads or writes in place of the Reorder beside it
``rewriting``   these, one after the other
``trial``       once per process: the block's size, and that it all holds
``report``      what a session says of it
==============  ==============================================================

Whatever is not as expected raises :class:`errors.UnfitError`, and the session is made without all
this.
"""
