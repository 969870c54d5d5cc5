"""A cheaper way to check the same annotations while the tests run.

jaxtyping's hook puts `jaxtyping.jaxtyped` on every function of the package, with or without arrays; each call then
binds its arguments and checks them twice, a quarter of the processor time of a training.  Here beartype alone checks a
function without arrays, and one with arrays is checked once, in a scope of its own for the names of dimensions.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any, get_args

import jaxtyping
from beartype import BeartypeConf, beartype

_jaxtyped = jaxtyping.jaxtyped
_beartype = beartype(
    conf=BeartypeConf(violation_type=jaxtyping.TypeCheckError)
)  # a TypeError, which the library expects


def install() -> None:
    """Put `checked` where the code that the hook writes looks for `jaxtyped`; to be called before it writes any."""
    jaxtyping.jaxtyped = checked


def checked(function: Any = None, *, typechecker: Callable | None = None) -> Any:
    """Decorate a function or a dataclass like `jaxtyping.jaxtyped`; raises its TypeCheckError."""
    if function is None:
        return functools.partial(checked, typechecker=typechecker)
    if inspect.isclass(function):
        if dataclasses.is_dataclass(function) and inspect.isfunction(function.__init__):
            function.__init__ = checked(function.__init__, typechecker=typechecker)
        return function
    if typechecker is None or not inspect.isfunction(function) or inspect.isgeneratorfunction(function):
        return _jaxtyped(function, typechecker=typechecker)
    shapes = [shape for annotation in function.__annotations__.values() for shape in _shapes(annotation)]
    if any("{" in shape for shape in shapes):  # a size that an argument gives
        return _jaxtyped(function, typechecker=typechecker)
    return _in_scope(_beartype(function)) if shapes else _beartype(function)


def _shapes(annotation: Any) -> Iterator[str]:
    """Yield the shapes of all arrays in an annotation; text that only jaxtyping resolves counts as any shape."""
    if isinstance(annotation, str):
        yield "{text}"
    elif hasattr(annotation, "dim_str"):
        yield annotation.dim_str
    for part in annotation if isinstance(annotation, list) else get_args(annotation):
        if not isinstance(part, str):  # that of a Literal
            yield from _shapes(part)


def _in_scope(function: Callable) -> Callable:
    @functools.wraps(function)
    def scoped(*arguments, **options):
        __tracebackhide__ = True
        with _jaxtyped("context"):
            return function(*arguments, **options)

    return scoped
