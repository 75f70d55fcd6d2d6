"""Machine code of the CUDA kernels, as cuobjdump prints it, and what can be counted in it.

An instruction has 128 bits; the upper half is printed on a line of its own and ends in what the
hardware is told about waiting (the same from Volta to Blackwell): bits 41 and up of that half are
the cycles to stall (4 bits), a yield flag, the scoreboard that the instruction releases when its
result has come (3 bits, 7 for none), the one it releases when its operands were read (3 bits), and
the scoreboards that it waits for (6 bits).
"""

import heapq
import re
from dataclasses import dataclass

WARP = 32
NONE = 7


@dataclass(frozen=True)
class Instruction:
    """One line of a disassembly."""

    address: int
    text: str  # with the predicate in front
    releases: int = NONE  # the scoreboard that a load releases when its value is there
    waits: int = 0  # a bit per scoreboard

    @property
    def opcode(self) -> str:
        words = self.text.split()
        return words[1] if words[0].startswith("@") else words[0]

    def is_a(self, name: str) -> bool:
        """Whether it is the instruction of this name, with whatever modifiers."""
        return self.opcode.partition(".")[0] == name

    def is_wide(self, name: str) -> bool:
        """Whether it is LDG, STG, LDS, STS or LDGSTS (asynchronous), as named, of 16 bytes."""
        return self.is_a(name) and ".128" in self.opcode

    @property
    def target(self) -> int | None:
        """Where a branch leads."""
        match = re.search(r"\bBRA\b.*\b0x([0-9a-f]+)$", self.text)
        return int(match[1], 16) if match else None


def read(listing: str) -> dict[str, list[Instruction]]:
    """The instructions of each function of one architecture, by its mangled name."""
    functions: dict[str, list[Instruction]] = {}
    lines = iter(listing.splitlines())
    for line in lines:
        if name := re.search(r"Function : (\w+)", line):
            current = functions.setdefault(name[1], [])
        elif code := re.search(r"/\*([0-9a-f]{4,})\*/\s+(.*?)\s*;", line):
            text = re.split(r"\s+[&?]", code[2])[0]  # newer listings note the waiting here, too
            upper = re.search(r"/\* 0x([0-9a-f]{16}) \*/", next(lines, ""))
            control = int(upper[1], 16) >> 41 if upper else NONE << 5
            current.append(
                Instruction(int(code[1], 16), text, control >> 5 & 7, control >> 11 & 63)
            )
    return functions


def loads_before_use(code: list[Instruction]) -> list[int]:
    """For each run of 16-byte loads from global memory: how many were issued before a use."""
    counts = []
    pending: list[set[str]] = []
    for instruction in code:
        registers = re.findall(r"\bR(\d+)\b", instruction.text)
        if instruction.is_wide("LDG"):
            sources, first = registers[1:], int(registers[0])
        else:
            # A store has no destination; for the rest it does no harm to count it as a source,
            # for it can only be a value that is dead by then.
            sources, first = registers, None
        if any(register in load for register in sources for load in pending):
            counts.append(len(pending))
            pending = []
        if first is not None:
            pending.append({str(first + i) for i in range(4)})
    return counts + ([len(pending)] if pending else [])


def before_first_load(code: list[Instruction]) -> list[Instruction]:
    """What stands before the first 16-byte load; before the first load where none is that wide."""
    loads = [i for i, each in enumerate(code) if each.is_a("LDG") or each.is_a("LDGSTS")]
    wide = [i for i in loads if ".128" in code[i].opcode]
    return code[: (wide or loads)[0]]


def waits_for_loads(code: list[Instruction]) -> list[Instruction]:
    """The instructions that wait for a value that an earlier one of them asks memory for."""
    asked = 0
    found = []
    for instruction in code:
        if instruction.waits & asked:
            found.append(instruction)
        asked &= ~instruction.waits
        if instruction.is_a("LDG"):
            asked |= 1 << instruction.releases
    return found


def shortest(code: list[Instruction], first: int, stages: list[list[int]]) -> int:
    """Instructions on the shortest way from `first` through one index of every stage, in order."""
    place = {instruction.address: i for i, instruction in enumerate(code)}
    reached = {first: 1}
    for stage in stages:
        costs = dict(reached)
        queue = [(cost, i) for i, cost in costs.items()]
        heapq.heapify(queue)
        while queue:
            cost, i = heapq.heappop(queue)
            if cost > costs[i]:
                continue
            for j in _successors(code, i, place):
                if cost + 1 < costs.get(j, cost + 2):
                    costs[j] = cost + 1
                    heapq.heappush(queue, (cost + 1, j))
        reached = {i: costs[i] for i in stage if i in costs}
        if not reached:
            raise ValueError(f"no way to {[code[i].text for i in stage]}")
    return min(reached.values())


def _successors(code: list[Instruction], i: int, place: dict[int, int]) -> list[int]:
    instruction = code[i]
    always = not instruction.text.startswith("@")
    found = []
    if instruction.target in place:
        found.append(place[instruction.target])
    ends = instruction.opcode in ("BRA", "EXIT") or instruction.opcode.startswith("RET")
    if not (always and ends) and i + 1 < len(code):
        found.append(i + 1)
    return found


def straight_cost(code: list[Instruction]) -> int:
    """Instructions of a kernel whose 16-byte accesses stand in no loop: NchwTile.

    The shortest way from its beginning, through every 16-byte access, the load of a parameter,
    every sum that goes to shared memory, each barrier, one round over the planes with one turn of
    the loop over a plane's sums, and every map that comes from there.
    """
    barriers = [i for i, instruction in enumerate(code) if instruction.opcode.startswith("BAR")]
    first, last = barriers[0], barriers[-1]

    def having(name: str, begin: int, end: int) -> list[int]:
        return [i for i in range(begin, end) if code[i].opcode.startswith(name)]

    wide = [i for i, instruction in enumerate(code) if _is_access(instruction)]
    parameter = max(i for i in having("LDG", 0, first) if i not in wide)
    sums = having("STS", min(wide), first)
    maps = having("LDS", last, max(wide))
    stages = [[i] for i in sorted({*wide, parameter, *sums, first, last, *maps})]
    between = stages.index([last])
    stages[between:between] = [having("LDS", first, last), having("MUFU.RSQ", first, last)]
    return shortest(code, 0, [*stages, having("EXIT", 0, len(code))])


def loop_costs(code: list[Instruction]) -> dict[str, float]:
    """Instructions per 16-byte access of the innermost loops that have such accesses.

    "sum": loads from global memory; "kept": from shared to global memory; "again": from global
    memory to global memory. Of several loops of one kind, the one with most accesses. A residual
    is read in "kept" and in "again", and its loads belong to the stores.
    """
    place = {instruction.address: i for i, instruction in enumerate(code)}
    loops = []
    for end, instruction in enumerate(code):
        begin = place.get(instruction.target, end) if instruction.target is not None else end
        if begin < end:
            wide = [i for i in range(begin, end) if _is_access(code[i])]
            if wide:
                loops.append((begin, end, wide))
    costs: dict[str, tuple[int, float]] = {}
    for begin, end, wide in loops:
        if any(begin <= b and e <= end and (b, e) != (begin, end) for b, e, _ in loops):
            continue
        loads = sum(code[i].is_wide("LDG") for i in wide)
        stores = sum(code[i].is_wide("STG") for i in wide)
        kept = any(instruction.is_wide("LDS") for instruction in code[begin:end])
        kind = ("kept" if kept else "again") if stores else "sum"
        packs = stores or loads
        if packs > costs.get(kind, (0, 0.0))[0]:
            cost = shortest(code, begin, [[i] for i in wide] + [[end]])
            costs[kind] = (packs, cost / packs)
    return {kind: cost for kind, (_, cost) in costs.items()}


def _is_access(instruction: Instruction) -> bool:
    return any(instruction.is_wide(name) for name in ("LDG", "STG"))
