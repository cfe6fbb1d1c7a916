class runtime_knobs:
    interpret: bool

runtime: runtime_knobs

class cache_knobs:
    dir: str

cache: cache_knobs
