"""What an audit may say."""

import enum


class Verdict(enum.IntEnum):
    """The worse the higher. Prints as its name."""

    PASS = 0
    SUSPECT = 1
    FAIL = 2

    def __str__(self) -> str:
        return self.name

    def __format__(self, how: str) -> str:
        return format(self.name, how)
