"""How long runs take, learnt from those that were."""

# A new run's part in the average: a dozen runs later an old pace is forgotten.
_WEIGHT = 0.3
# What a sample may cost in a long run, beside what it costs at best.
_WORTH = 1.5


class Pace:
    """The usual seconds of a run, by the number of its samples in powers of two."""

    def __init__(self) -> None:
        self._seconds: dict[int, float] = {}

    def note(self, samples: int, seconds: float) -> None:
        """A run of so many samples took so long."""
        size = samples.bit_length()
        usual = self._seconds.get(size, seconds)
        usual += _WEIGHT * (seconds - usual)
        # What is known of others may be old: no run takes longer than one of more samples.
        for other, known in self._seconds.items():
            self._seconds[other] = min(known, usual) if other < size else max(known, usual)
        self._seconds[size] = usual

    def note_at_least(self, samples: int, seconds: float) -> None:
        """A run of so many samples did not end well, after so long."""
        if seconds > self.expect(samples):
            self.note(samples, seconds)

    def expect(self, samples: int) -> float:
        """Seconds that a run of so many samples will take; 0 where nothing is known.

        In proportion between two known sizes and above the largest; below the smallest, no less.
        """
        size = samples.bit_length()
        if size in self._seconds or not self._seconds:
            return self._seconds.get(size, 0.0)
        smaller = max((known for known in self._seconds if known < size), default=None)
        larger = min((known for known in self._seconds if known > size), default=None)
        if smaller is None:
            return self._seconds[larger]
        before = self._seconds[smaller]
        if larger is None:
            return before * 2.0 ** (size - smaller)
        part = (2.0**size - 2.0**smaller) / (2.0**larger - 2.0**smaller)
        return before + part * (self._seconds[larger] - before)

    def worthwhile(self, most: int, short_seconds: float) -> int:
        """Most samples of a run: where it would not be short, no more than they are worth.

        Who waits for a run waits for the whole of it. A model that takes half as long for half as
        many, as most do on a CPU, gains nothing by runs so long that clients give up.
        """
        sizes = [most]
        while sizes[-1] > 1:
            sizes.append((sizes[-1] + 1) // 2)
        seconds = {size: self.expect(size) for size in reversed(sizes)}
        best = min(seconds[size] / size for size in sizes)
        worth = next(size for size in seconds if seconds[size] / size <= _WORTH * best)
        short = [size for size in sizes if seconds[size] <= short_seconds]
        return max([worth, *short])
