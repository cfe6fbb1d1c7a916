"""Running means: what something takes lately. Pure."""


class RunningMean:
    """Exponentially weighted: each observation moves it a part of the way from where it is."""

    __slots__ = ("_fall", "_known", "_rise", "value")

    def __init__(self, rise: float, fall: float | None = None, start: float | None = None):
        """rise, fall: the part of the difference, from 0 to 1, by which what is more or less than the mean moves it;
        `fall` is as `rise` by default. start: without one, what is observed first is the mean."""
        self._rise, self._fall = rise, rise if fall is None else fall
        self._known = start is not None
        self.value = start or 0.0  # 0 until anything is known

    @property
    def is_known(self) -> bool:
        """Whether there was a start, or anything was observed."""
        return self._known

    def observe(self, value: float) -> None:
        if not self._known:
            self.value, self._known = value, True
        else:
            difference = value - self.value
            self.value += (self._rise if difference > 0 else self._fall) * difference

    def fade(self, factor: float) -> None:
        """Take less of what it was for granted: multiply it."""
        self.value *= factor
