"""Globals that a capture reads where the step reads them.

Torch's capture reads the globals of a function by way of the module of that name, which it looks up once in a process.
A function may have other globals: its module was made anew under the same name, or never was one, as in `runpy` and
`exec`. Within `own_globals` such a function's globals are read, and guarded, in their own dictionary.
"""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

from torch._dynamo import symbolic_convert
from torch._dynamo.source import DictGetItemSource, GlobalSource
from torch._dynamo.variables.base import VariableTracker

from unrolled.engine.step.undisturbed import patched_here

_Inlined: Any = symbolic_convert.InliningInstructionTranslator
_load_global = _Inlined._load_global


def _is_of_its_module(names: dict[str, Any]) -> bool:
    """Whether a function's globals are those of the module that its name leads to."""
    module = sys.modules.get(names.get("__name__", ""))
    return module is not None and getattr(module, "__dict__", None) is names


def _load(translator: Any, instruction: Any) -> None:
    names, name = translator.f_globals, instruction.argval
    if name not in names or names is translator.output.global_scope or _is_of_its_module(names):
        _load_global(translator, instruction)
        return
    scope = GlobalSource(translator.output.install_global_by_id("___own_globals", names))
    translator.push(VariableTracker.build(translator, names[name], DictGetItemSource(scope, name)))


@contextlib.contextmanager
def own_globals() -> Iterator[None]:
    """Within, a capture reads each global in its own scope."""
    symbolic_convert._import_module.cache_clear()  # modules of before may have made place for others
    with patched_here(_Inlined, "_load_global", _load):
        yield
