"""Keys of the dictionaries that a step reads, as they were.

Inputs: names of what torch's guards compare the class of. Output: whether each dictionary among it has the same keys in
the same order. Torch guards no key that `list(d)`, `[*d]` or `sum(d)` reads, nor the order of those of a copy, nor what
`==` does not tell apart, as 1 and True.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any

# of modules, whose keys torch guards, and what torch itself reads
_NOT_OF_STEP = re.compile(r"\._(parameters|modules|buffers)$|^G\['__import_torch_|^G\['__builtins_dict__")
_PLAIN = (bool, int, float, complex, str, bytes, type(None))


class DictKeys:
    """The keys at one time.

    Args:
        names: as torch words them.
        scope: what names read.
        helpers: of torch, which names may call.
        hold: is given each key that is told by its address, to keep that from being another's.
    """

    def __init__(
        self, names: Iterable[str], scope: dict[str, Any], helpers: dict[str, Any], hold: Callable[[Any], None]
    ) -> None:
        self._helpers = helpers
        read = {name: eval(name, helpers, scope) for name in names if not _NOT_OF_STEP.search(name)}
        tables = {name: value for name, value in read.items() if isinstance(value, dict)}
        for key in (key for table in tables.values() for key in table if not _is_plain(key)):
            hold(key)
        self._names = [compile(name, "<guard>", "eval") for name in tables]
        self._keys = self._read(scope)

    def are_same(self, scope: dict[str, Any]) -> bool:
        """Whether the keys are what they were."""
        return not self._names or self._keys == self._read(scope)

    def _read(self, scope: dict[str, Any]) -> list[list[Any]]:
        tables = (eval(name, self._helpers, scope) for name in self._names)
        return [[repr(key) if _is_plain(key) else id(key) for key in dict.keys(table)] for table in tables]


def _is_plain(key: Any) -> bool:
    """Whether a key is told by its text."""
    if type(key) in (tuple, frozenset):
        return all(map(_is_plain, key))
    return type(key) in _PLAIN
