"""Holds generated call code to what it may consist of: names that are given or its own, methods, and whole numbers."""

import ast
import re
from collections.abc import Container

_IDENTIFIER = re.compile(r"[a-z][a-z0-9_]*")
_NEVER = (ast.Import, ast.ImportFrom, ast.ClassDef, ast.AsyncFunctionDef, ast.Lambda, ast.Global, ast.Nonlocal)


def checked(source: str, given: Container[str]) -> ast.Module:
    """The source of one function, which may read the names that are given, parsed.

    Raises:
        ValueError: it holds anything else. This is a bug: no part of a plan reaches the source unchecked.
    """
    tree = ast.parse(source)
    [function] = tree.body
    assert isinstance(function, ast.FunctionDef)
    nodes = list(ast.walk(function))
    own = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    own |= {argument.arg for argument in function.args.args}
    for node in nodes:
        if isinstance(node, ast.Name):
            is_right = bool(_IDENTIFIER.fullmatch(node.id)) and (node.id in own or node.id in given)
        elif isinstance(node, ast.Attribute):
            is_right = bool(_IDENTIFIER.fullmatch(node.attr))
        elif isinstance(node, ast.Constant):
            is_right = node.value is None or type(node.value) in (int, bool)
        else:
            is_right = not isinstance(node, _NEVER) and (node is function or not isinstance(node, ast.FunctionDef))
        if not is_right:
            raise ValueError(f"generated code holds what it may not: {ast.unparse(node)}")
    return tree
