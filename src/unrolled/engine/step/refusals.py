"""Why a step cannot be captured, in words for its author.

Input: what torch's capture raised, or the graph that it made. Output: a `NotTraceable` that says what the step does,
and in which line.
"""

import math
import operator
import re
import types
from collections.abc import Callable

import torch
from torch import fx
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException
from torch.fx.experimental.symbolic_shapes import ConstraintViolationError

from unrolled.engine.reasons import ROWS_MATTER, NotTraceable
from unrolled.engine.source_lines import line_of_node, line_of_stack
from unrolled.engine.step.doing import CANNOT, LOGS, NOT_CAPTURED, RANDOM, READS, TEXT, Doing
from unrolled.engine.step.hidden_writes import hidden_write
from unrolled.engine.step.sources import exchanged_methods

_BRANCHES = "it branches on a value of a tensor; torch.where(condition, a, b) does not"
_BRANCHES_ON_NUMPYS = "it branches on a number of numpy's, which a capture takes for a tensor; hold float(number)"
_WRITES = "it writes to an object that outlives the step; put what changes into the state"
RAISES = "it raises an exception when it is captured; the eager loop tells which, if it is the step's own"
_HOOKS = "it sets a hook, which a fused loop would not run; put what the hook does into the step"
_GRADIENT = "it switches gradients on or off, or takes one, within the step; tensor.detach() stops a gradient too"
_FUNCTION = "it calls an autograd function of its own, whose backward a capture does not see"
_GENERATOR = "it makes or uses a torch.Generator; draw from torch's own, as torch.rand(n) does"
_ITERATOR = "it takes the next item of an iterator, which each step moves on"
_CALLS = "it calls {name}" + CANNOT
_NUMPY = "it computes with numpy, whose results have no gradient; torch and math have the same functions"
_AUTOCAST = "it switches torch.autocast on or off; convert by tensor.to(dtype) where it should"
_DATA = "it reads tensor.data, which hides how gradients flow; tensor.detach() does not"
_HIDDEN = (
    "it writes to what tensor.detach() gave, which is the tensor itself, hidden from gradients; "
    "tensor.detach().clone() is a tensor of its own"
)
_TRANSFORM = "it runs a transform of torch.func, which a graph of plain operations does not hold"
_NOT_TRACED = "torch cannot trace it as a graph of its own operations"
_TOO_DEEP = "its functions call each other too deeply to be captured"
_SHAPES = "the shape of a tensor depends on its values; torch.where(condition, a, b) keeps the shape"
_MISSING = "it reads a name that is not there"
ADDRESS = "it asks for the address of an object"
_MOMENTS = (
    "it takes mean and deviation of native_group_norm, whose gradient torch has in part; torch.var_mean has it whole"
)
_LOGICAL = "it calls tensor.{name} on numbers, whose gradient torch gives as if nothing had been written"
_SPARSE = "it uses sparse tensors"
_QUANTIZED = "it uses quantized tensors"
_LEFT_OUT = "a function that torch.compile leaves out, such as unrolled.scan"
SCRIPT = "it calls what TorchScript made, in which no change can be seen; hand it the plain function or module"
_NESTED = "it uses nested tensors"
_NOT_FAKED = "it calls an operation of its own without a fake implementation (torch.library.register_fake)"

#: torch's names for what it cannot capture, by how they begin → what the step does
_KINDS: dict[str, str] = {
    "Data-dependent branching": _BRANCHES,
    "Could not guard on data-dependent expression": _BRANCHES,
    "Data-dependent assertion": _BRANCHES,
    "Data dependent operator": READS,
    "Unsupported Tensor.item()": READS,
    "Tensor.tolist()": READS,
    "Not a Python constant": READS,
    "Dynamic shape operator": _SHAPES,
    "Observed exception": RAISES,
    "TypeError from user code": RAISES,
    "RuntimeError when making fake tensor call": RAISES,
    "TypeError when making fake tensor call": RAISES,
    "assert with non-string message": RAISES,
    "Missing tp_iternext": _ITERATOR,
    "Unimplemented next() call": _ITERATOR,
    "call_method on generator": _ITERATOR,
    "An opaque object was created": _GENERATOR,
    "torch.Generator": _GENERATOR,
    "Module-level backwards hooks": _HOOKS,
    "Storing Tensor hook": _HOOKS,
    "Unsupported Tensor.backward()": _GRADIENT,
    "Unsupported Tensor.requires_grad_()": _GRADIENT,
    "Tensor.retain_grad()": _GRADIENT,
    "setattr() on Tensor.requires_grad": _GRADIENT,
    "using `torch.autograd.grad`": _GRADIENT,
    "Unsupported autograd.Function": _FUNCTION,
    "Attempted to wrap RNN, GRU, or LSTM": "it calls a whole recurrent layer; a step runs one time step",
    "attempted to trace torch._numpy.random": RANDOM,
    "Import failure": "it imports a module that is not there",
    "Call to `torch.compiler.disable()`": _CALLS.format(name=_LEFT_OUT),
    "failed to find name": _MISSING,
    "Attempted to read": _MISSING,
    "setattr() on unsupported type": _WRITES,
    "Failed to mutate tensor data": _DATA,
    "Failed to mutate": _WRITES,
    "Shape mismatch with out=": "it writes a result by out= into a tensor of another shape",
    "torch.jit.script/freeze": SCRIPT,
    "Attempted to use strided NestedTensor": _NESTED,
    "Attempted to wrap strided NestedTensor": _NESTED,
    "Attempted to wrap sparse Tensor": _SPARSE,
    "Operator does not support running with fake tensors": "it calls an operation that works on numbers alone",
    "Skip calling `torch.compiler.disable()`d function": _CALLS.format(name=_LEFT_OUT),
    "Comparison on compile-time-only id or hash value": ADDRESS,
    "sort with non-constant keys": "it sorts by values of tensors in Python; torch.sort does not",
    "repr() on": TEXT,
    "failed to call str()": TEXT,
    "logging.Logger method not supported": LOGS,
    "Attempted to copy.deepcopy a tensor": "it copies a tensor by copy.deepcopy; tensor.clone() does the same",
}
# what stands in torch's explanation where the kind alone does not tell what the step does
_SIGNS: dict[str, str] = {
    "aten.equal.": _BRANCHES,
    "aten.allclose.": _BRANCHES,
    "no fake impl registered": _NOT_FAKED,
    "unsupported operator: aten._to_sparse": _SPARSE,
    "unsupported operator: aten.dequantize": _QUANTIZED,
    "unsupported operator: aten.fake_quantize": _QUANTIZED,
    "quantized nyi": _QUANTIZED,
    "Could not extract specialized integer from data": READS,
    "Could not guard on data-dependent": _BRANCHES,
    "attribute 'as_subclass'": "its results are of a subclass of torch.Tensor",
    "(Generator)": _GENERATOR,
    "Random.": RANDOM,
    "_CachedForward": SCRIPT,
    "_nested_tensor": _NESTED,
}
# methods of tensors in a graph that a fused loop cannot stand for
_METHODS = {
    **dict.fromkeys(("item", "tolist", "__bool__", "__int__", "__float__"), READS),
    **dict.fromkeys(("register_hook", "register_post_accumulate_grad_hook"), _HOOKS),
    **dict.fromkeys(("backward", "requires_grad_", "retain_grad"), _GRADIENT),
    "set_": _DATA,
}
# functions of torch that take functions
_HIGHER = {
    "cond": "it branches by torch.cond, and a fused loop has no branches; torch.where(condition, a, b) does not branch",
    "while_loop": "it loops by while_loop, and a fused loop has no inner loops; loop in Python a fixed number of times",
    "tag_activation_checkpoint": "it calls torch.utils.checkpoint; scan(..., recompute=True) recomputes too",
}
_CHANGES_GRADIENTS = ("_set_grad_enabled", "_enter_inference_mode", "_exit_inference_mode")
_CHANGES_DTYPES = ("_enter_autocast", "_exit_autocast")
_KNOWN_MODULES = ("torch", "_operator", "operator", "math", "builtins", "einops")
_FOREIGN = re.compile(r"unsupported operator: (\w+)\.")
_MANY = 50  # functions that call each other in a step that is written, not generated
_NUMPY_WRAPPERS = ("NumpyNdarrayVariable", "numpy_to_tensor_wrapper", "numpy_attr_wrapper", "numpy_method_wrapper",
                   "numpy_operator_wrapper")  # fmt: skip


def reason_of(fault: BaseException, doing: Doing | None = None, noted: str = "") -> NotTraceable:
    """What a step does that torch's capture cannot follow.

    Args:
        fault: what the capture raised.
        doing: the instruction that it came to last.
        noted: what the step did before that no guard can tell.
    """
    kind = getattr(fault, "gb_type", None) or ""
    text = str(fault)
    line = line_of_stack(getattr(fault, "real_stack", None)) or (doing.line if doing else "")
    if "certain side effects happened" in text:
        return _writing(fault)
    if doing is not None and doing.is_random:
        return NotTraceable(f"{RANDOM}{line}")
    if isinstance(fault, ConstraintViolationError):
        return NotTraceable(ROWS_MATTER)
    if kind == "Observed exception" and "NameError" in text:
        return NotTraceable(f"{_MISSING}{line}")
    if "iterator" in text and kind.startswith("Unexpected type in sourceless"):
        return NotTraceable(f"{_ITERATOR}{line}")
    for sign, words in _SIGNS.items():
        if sign in text.split("from user code:")[0]:
            return NotTraceable(f"{words}{line}")
    foreign = _FOREIGN.search(text)
    if foreign and foreign[1] not in ("aten", "prims"):
        return NotTraceable(f"{_NOT_FAKED}{line}")
    for start, words in _KINDS.items():
        if kind.startswith(start) or (not kind and text.startswith(start)):
            if words is _BRANCHES and doing is not None and doing.is_of_numpy:
                words = _BRANCHES_ON_NUMPYS
            if words is RAISES:
                of_torch = doing.words_of_an_error if doing else ""
                if noted and "AttributeError" not in text:
                    return NotTraceable(noted)
                return NotTraceable(f"{of_torch or words}{line}")
            scans = _CALLS.format(name="unrolled.scan")
            if _LEFT_OUT in words and noted.startswith(scans):
                return NotTraceable(noted)
            return NotTraceable(f"{words}{line}")
    if noted:
        return NotTraceable(noted)
    if isinstance(fault, RecursionError) and (doing is None or doing.depth > _MANY):
        return NotTraceable(_TOO_DEEP)
    return NotTraceable((doing.words() if doing else NOT_CAPTURED) + line)


def _writing(fault: BaseException) -> NotTraceable:
    """Where a step writes to what outlives it, or takes from an iterator that does."""
    traced = getattr(fault, "_torch_dynamo_tracer_output", None)
    output = getattr(traced, "output_graph_for_cleanup", None)
    for written, stacks in ({} if output is None else output.side_effects.mutation_user_stacks).items():
        if type(getattr(written, "mutation_type", None)).__name__.endswith("Existing"):
            kind = type(written).__name__
            words = _ITERATOR if "Iterator" in kind else RANDOM if kind == "RandomVariable" else _WRITES
            return NotTraceable(words + next(filter(None, map(line_of_stack, stacks)), ""))
    return NotTraceable(_WRITES)


def reason_at(node: fx.Node, fault: Exception) -> NotTraceable:
    """Why an operation of a captured graph cannot be traced."""
    if isinstance(fault, DataDependentOutputException):
        words = READS
    elif isinstance(fault, DynamicOutputShapeException):
        words = _SHAPES
    else:
        words = _NOT_TRACED
    return NotTraceable(f"{words}{line_of_node(node)}")


def refuse_nodes(graph: fx.GraphModule) -> None:
    """Refuses a captured graph that holds what the engine's own tracing would take for something else.

    Raises:
        NotTraceable: with the line of the step.
    """
    nodes = list(graph.graph.nodes)
    for at, node in enumerate(nodes):
        words = None
        if node.op == "call_method":
            words = _METHODS.get(node.target)
            if node.target == "view_as" and node.args[0] is node.args[1]:  # how torch captures tensor.numpy()
                words = _NUMPY
            elif node.target.startswith("logical_") and node.target.endswith("_") and _is_of_numbers(node.args[0]):
                words = _LOGICAL.format(name=node.target)
            words = words or exchanged_methods([node.target])  # which the graph would call once more
        elif node.op == "call_module":
            words = _CALLS.format(name=f"the module {node.target}")
        elif node.op == "call_function":
            words = _MOMENTS if _takes_moments(node) else _refused(node.target)
        if words:  # where torch notes no line, it is that of what follows
            raise NotTraceable(words + next(filter(None, map(line_of_node, nodes[at:])), ""))
    try:
        writes = hidden_write(graph)
    except RuntimeError as fault:  # of an operation of the step's
        raise NotTraceable(_NOT_TRACED) from fault
    if writes is not None:
        raise NotTraceable(_HIDDEN + line_of_node(writes))


def _takes_moments(node: fx.Node) -> bool:
    """Whether more than the first result of a group norm is used: torch's backward counts the gradients of the others
    only where the first has one.
    """
    return "native_group_norm" in str(node.target) and any(
        user.target is not operator.getitem or user.args[1] != 0 for user in node.users
    )


def _is_of_numbers(node: fx.Node) -> bool:
    return bool(node.meta["example_value"].is_floating_point())


def _refused(target: Callable) -> str | None:
    if isinstance(target, torch._ops.HigherOrderOperator):
        if "hook" in target.name():
            return _HOOKS
        words = _HIGHER.get(target.name())
        return words or (_FUNCTION if "autograd_function" in target.name() else _CALLS.format(name=target.name()))
    name = getattr(target, "__name__", "")
    if name in _CHANGES_GRADIENTS:
        return _GRADIENT
    if name in _CHANGES_DTYPES:
        return _AUTOCAST
    if name == "_get_data_attr":
        return _DATA
    if "functorch" in (getattr(target, "__module__", None) or ""):
        return _TRANSFORM
    if type(target).__name__ in _NUMPY_WRAPPERS:
        return _NUMPY
    if target in (torch.ops.aten._assert_scalar.default, torch.ops.aten.sym_size.int):
        return _SHAPES
    if isinstance(target, torch._ops.OpOverload | torch._ops.OpOverloadPacket):
        return None
    module = getattr(target, "__module__", None) or ""
    is_known = module.split(".")[0] in _KNOWN_MODULES or isinstance(target, types.BuiltinFunctionType)
    if is_known or target in vars(math).values() or target in vars(operator).values():
        return None
    return _CALLS.format(name=f"{module}.{name}")
