"""What an audit may say."""

import enum


class Verdict(enum.IntEnum):
    """The worse the higher."""

    PASS = 0
    SUSPECT = 1
    FAIL = 2
