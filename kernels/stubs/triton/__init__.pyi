"""What of Triton (which has no annotations) the kernels use. Kernels' own parameters are annotated as Triton sees them:
`tl.tensor` for tensors, pointers and numbers alike, `tl.constexpr` for what is known when a kernel is compiled."""

from collections.abc import Callable, Sequence
from typing import Generic, ParamSpec, TypeVar, overload

from . import knobs as knobs
from . import language as language

P = ParamSpec("P")
R = TypeVar("R")

class JITFunction(Generic[P, R]):
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R: ...
    # Launched with torch's tensors and Python's numbers where the kernel has tl.tensor, and with options of the launch.
    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]: ...

@overload
def jit(fn: Callable[P, R]) -> JITFunction[P, R]: ...
@overload
def jit(*, do_not_specialize: Sequence[str]) -> Callable[[Callable[P, R]], JITFunction[P, R]]: ...
def constexpr_function(fn: Callable[P, R]) -> Callable[P, R]: ...
def cdiv(x: int, y: int) -> int: ...
def next_power_of_2(n: int) -> int: ...
