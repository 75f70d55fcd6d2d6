"""Puts a mutant into a package that is loaded already, by giving functions other code.

That is thousands of times cheaper than to load the package anew, and possible where the change is
in the body of functions. A change to what runs on import (tables, constants, defaults, decorators)
is not: there ``replacements`` is None.
"""

import gc
import inspect
from collections.abc import Iterator
from types import CodeType, FunctionType

Replacements = list[tuple[CodeType, CodeType]]


def replacements(path: str, original: str, mutated: str) -> Replacements | None:
    """The code of functions in the original, and in the mutant, where they differ."""
    old = list(_codes(compile(original, path, "exec", dont_inherit=True)))
    new = list(_codes(compile(mutated, path, "exec", dont_inherit=True)))
    if [code.co_qualname for code in old] != [code.co_qualname for code in new]:
        return None
    changed = []
    for before, after in zip(old, new, strict=True):
        if _own(before) == _own(after) and before.co_firstlineno == after.co_firstlineno:
            # What it holds may differ all the same.
            if before != after and before.co_flags & inspect.CO_OPTIMIZED:
                changed.append((before, after))
            continue
        if not before.co_flags & inspect.CO_OPTIMIZED:
            return None
        if before.co_freevars != after.co_freevars:
            return None
        changed.append((before, after))
    return changed


def apply(changed: Replacements) -> int:
    """Gives every function that has an old code the new one; how many there were."""
    by_place = {_place(before): after for before, after in changed}
    count = 0
    for function in [f for f in gc.get_objects() if isinstance(f, FunctionType)]:
        if (after := by_place.get(_place(function.__code__))) is not None:
            function.__code__ = after
            count += 1
    return count


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _codes(const)


def _own(code: CodeType) -> tuple:
    """What a code does, without that of the functions in it."""
    consts = tuple((type(c), repr(c)) for c in code.co_consts if not isinstance(c, CodeType))
    return code.co_code, consts, code.co_names, code.co_varnames, code.co_cellvars


def _place(code: CodeType) -> tuple[str, str, int]:
    return code.co_filename, code.co_qualname, code.co_firstlineno
