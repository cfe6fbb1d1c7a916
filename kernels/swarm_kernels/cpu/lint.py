"""`python -m swarm_kernels.cpu.lint`: the C++ as the compiler reads it for each processor, warnings being errors."""

import sys

from swarm_kernels.cpu.build import LEVELS, Unavailable, find_compiler, run_compiler


def main() -> int:
    """The exit status. Where there is no compiler, there is nothing to check, which is said."""
    try:
        compiler = find_compiler()
    except Unavailable as reason:
        print(f"the C++ kernels are not checked: {reason}")
        return 0
    try:
        for level in LEVELS:
            run_compiler(compiler, level, "-Werror", "-fsyntax-only")
    except Unavailable as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
