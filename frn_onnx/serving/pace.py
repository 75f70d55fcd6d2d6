"""How long runs take, learnt from those that were."""

# A new run's part in the average: a dozen runs later an old pace is forgotten.
_WEIGHT = 0.3


class Pace:
    """The usual seconds of a run, by the number of its samples in powers of two."""

    def __init__(self) -> None:
        self._seconds: dict[int, float] = {}

    def note(self, samples: int, seconds: float) -> None:
        """A run of so many samples took so long."""
        size = samples.bit_length()
        usual = self._seconds.get(size, seconds)
        self._seconds[size] = usual + _WEIGHT * (seconds - usual)

    def note_at_least(self, samples: int, seconds: float) -> None:
        """A run of so many samples did not end well, after so long."""
        if seconds > self.expect(samples):
            self.note(samples, seconds)

    def expect(self, samples: int) -> float:
        """Seconds that a run of so many samples will take; 0 where nothing is known.

        A run larger than any known takes longer in proportion, a smaller one no longer.
        """
        size = samples.bit_length()
        if size in self._seconds or not self._seconds:
            return self._seconds.get(size, 0.0)
        larger = [known for known in self._seconds if known > size]
        if larger:
            return self._seconds[min(larger)]
        largest = max(self._seconds)
        return self._seconds[largest] * 2.0 ** (size - largest)
