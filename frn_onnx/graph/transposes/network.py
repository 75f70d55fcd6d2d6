"""The cheapest way to part a graph in two: a minimum cut, found with Dinic's algorithm.

E. A. Dinic, "Algorithm for solution of a problem of maximum flow in networks with power
estimation", 1970.
"""

from collections import deque
from collections.abc import Callable

UNLIMITED = 1 << 40


class Network:
    """A directed graph whose edges have capacities; vertices are numbered as they are added."""

    def __init__(self) -> None:
        self._edges: list[list[int]] = []
        self._heads: list[int] = []
        self._room: list[int] = []

    def vertex(self) -> int:
        self._edges.append([])
        return len(self._edges) - 1

    def edge(self, tail: int, head: int, capacity: int) -> None:
        """What it costs to have ``tail`` on the source's side and ``head`` on the sink's."""
        # Each edge stands beside its reverse, so that edge ^ 1 is the other.
        for start, end, room in ((tail, head, capacity), (head, tail, 0)):
            self._edges[start].append(len(self._heads))
            self._heads.append(end)
            self._room.append(room)

    def cut(self, source: int, sink: int) -> tuple[list[bool], list[bool]]:
        """Two minimum cuts: for each vertex, whether it is on the source's side.

        The first has as few vertices as can be on the source's side, the second as many.
        """
        while (levels := self._levels(source, sink)) is not None:
            self._saturate(source, sink, levels)
        return (
            self._reached(source, lambda edge: self._room[edge]),
            [not reached for reached in self._reached(sink, lambda edge: self._room[edge ^ 1])],
        )

    def _levels(self, source: int, sink: int) -> list[int] | None:
        levels = [-1] * len(self._edges)
        levels[source] = 0
        queue = deque([source])
        while queue:
            vertex = queue.popleft()
            for edge in self._edges[vertex]:
                head = self._heads[edge]
                if self._room[edge] and levels[head] < 0:
                    levels[head] = levels[vertex] + 1
                    queue.append(head)
        return levels if levels[sink] >= 0 else None

    def _saturate(self, source: int, sink: int, levels: list[int]) -> None:
        """Fills the shortest paths, walking edge by edge and back out of dead ends."""
        tried = [0] * len(self._edges)
        path: list[int] = []
        vertex = source
        while True:
            if vertex == sink:
                flow = min(self._room[edge] for edge in path)
                for edge in path:
                    self._room[edge] -= flow
                    self._room[edge ^ 1] += flow
                path, vertex = [], source
            elif tried[vertex] < len(self._edges[vertex]):
                edge = self._edges[vertex][tried[vertex]]
                head = self._heads[edge]
                if self._room[edge] and levels[head] == levels[vertex] + 1:
                    path.append(edge)
                    vertex = head
                else:
                    tried[vertex] += 1
            elif path:
                vertex = self._heads[path.pop() ^ 1]
                tried[vertex] += 1
            else:
                return

    def _reached(self, start: int, is_open: Callable[[int], object]) -> list[bool]:
        reached = [False] * len(self._edges)
        reached[start] = True
        stack = [start]
        while stack:
            for edge in self._edges[stack.pop()]:
                head = self._heads[edge]
                if not reached[head] and is_open(edge):
                    reached[head] = True
                    stack.append(head)
        return reached
