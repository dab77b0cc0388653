"""What a forward pass does, operation by operation, and whether it does so for every image.

A model and an image in; out come the operations until some layers have run, with the memory that
each takes and gives. Nothing of it holds a tensor.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

# The documented place of dispatch modes, underscore or not.
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from dvis.models.hooks import stopping

# What takes numbers out of a tensor without an operation.
_READS = frozenset(
    {
        Tensor.tolist,
        Tensor.numpy,
        Tensor.__array__,
        Tensor.__dlpack__,
        Tensor.data_ptr,
        Tensor.storage,
        Tensor.untyped_storage,
    }
)
_NO_USE = {"detach", "alias"}  # the same tensor under another name, which autograd also takes
# Of each position by itself, without being marked so.
_POINTWISE = {"hardswish", "hardswish_", "hardsigmoid", "hardsigmoid_", "_to_copy", "log_sigmoid"}


@dataclass(frozen=True)
class Value:
    """A tensor that an operation takes or gives: tensors of one memory can change each other."""

    memory: int
    shape: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One operation, by the name that torch has for it.

    `place` counts those before it, `module` is the innermost module that runs it; in `arguments` a
    `Value` stands for a tensor.
    """

    place: int
    name: str
    module: str
    is_pointwise: bool
    arguments: tuple[Any, ...]
    taken: tuple[Value, ...]
    given: tuple[Value, ...]


@dataclass(kw_only=True)
class ForwardTrace:
    """Operations of one forward pass until some layers have run.

    Attributes
    ----------
    operations : list of Operation
        In the order in which they ran.
    memories : dict of str to int
        Memory of each parameter and buffer.
    image : Value
        The image.
    outputs : dict of str to Value
        What the layers gave.
    is_fixed : bool
        Whether the same operations run for every image of this shape.
    """

    operations: list[Operation] = field(default_factory=list)
    memories: dict[str, int] = field(default_factory=dict)
    image: Value = Value(-1, ())
    outputs: dict[str, Value] = field(default_factory=dict)
    is_fixed: bool = True

    def users(self, memory: int) -> list[Operation]:
        """Operations that take a memory."""
        return self._users[memory]

    def givers(self, memory: int) -> list[Operation]:
        """Operations that give a memory."""
        return self._givers[memory]

    def of_module(self, name: str) -> list[Operation]:
        """Operations of a module itself."""
        return self._of_module[name]

    @cached_property
    def _users(self) -> Mapping[int, list[Operation]]:
        return self._by(lambda operation: {value.memory for value in operation.taken})

    @cached_property
    def _givers(self) -> Mapping[int, list[Operation]]:
        return self._by(lambda operation: {value.memory for value in operation.given})

    @cached_property
    def _of_module(self) -> Mapping[str, list[Operation]]:
        return self._by(lambda operation: {operation.module})

    def _by(self, keys: Callable[[Operation], Iterable[Any]]) -> Mapping[Any, list[Operation]]:
        found: dict[Any, list[Operation]] = defaultdict(list)
        for operation in self.operations:
            if operation.name not in _NO_USE:
                for key in keys(operation):
                    found[key].append(operation)
        return found

    def of_image(self) -> set[int]:
        """Memories that hold what was computed of the image."""
        found = {self.image.memory}
        for operation in self.operations:
            if any(value.memory in found for value in operation.taken):
                found.update(value.memory for value in operation.given)
        return found


def trace_forward(model: nn.Module, calls: Mapping[str, int], image: Tensor) -> ForwardTrace:
    """The operations of a forward pass, with gradients on as when images are optimised.

    Parameters
    ----------
    model : nn.Module
        The model in eval mode.
    calls : mapping of str to int
        Layers until which to follow it, and how often each runs in a whole pass.
    image : Tensor, (1, channel, y, x)
        An image.

    Notes
    -----
    A pass whose course depends on the image is known by a number that leaves the tensors computed
    of it (`if x.mean() > 0`, `x.argmax().item()`, `x.numpy()`), or a shape that depends on values
    (`x[x > 0]`). What a compiled program does is not seen, and taken as not fixed.
    """
    recorder = _Recorder(model)
    seen = image.detach().clone(memory_format=torch.contiguous_format).requires_grad_()
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        return ForwardTrace(is_fixed=False)
    with ExitStack() as stack, torch.enable_grad():
        for handle in recorder.name_modules():
            stack.callback(handle.remove)
        forward = stack.enter_context(stopping(model, dict(calls)))
        recorder.begin(seen)
        with recorder, _Reads(recorder):
            outputs = forward(seen)
        return recorder.end(outputs)


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no types here
    """Records what runs while it is active."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._model, self._trace = model, ForwardTrace()
        self._modules = [""]
        self._numbers: dict[int, int] = {}
        self._alive: list[Any] = []  # so that no two memories have the same address
        self._of_image: set[int] = set()

    def name_modules(self) -> Iterator[Any]:
        """Hooks that tell which module runs."""

        def enter(name: str) -> Callable[..., None]:
            return lambda *_: self._modules.append(name)

        def leave(*_: Any) -> None:
            self._modules.pop()

        for name, module in self._model.named_modules():
            yield module.register_forward_pre_hook(enter(name))
            yield module.register_forward_hook(leave)

    def begin(self, image: Tensor) -> None:
        """Name the memories that are there."""
        self._trace.image = self._value(image)
        self._of_image = {self._trace.image.memory}
        for named in (self._model.named_parameters, self._model.named_buffers):
            for name, tensor in named(remove_duplicate=False):
                self._trace.memories[name] = self._memory(tensor)

    def end(self, outputs: Mapping[str, Tensor]) -> ForwardTrace:
        """The trace, which holds no tensor."""
        self._trace.outputs = {layer: self._value(tensor) for layer, tensor in outputs.items()}
        self._alive.clear()
        return self._trace

    def is_of_image(self, values: Any) -> bool:
        """Whether there is a tensor among values that was computed of the image."""
        return any(
            self._memory(leaf) in self._of_image
            for leaf in tree_leaves(values)
            if isinstance(leaf, Tensor)
        )

    def read(self) -> None:
        """Note that numbers of the image have left the tensors."""
        self._trace.is_fixed = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self._record(func, (args, kwargs), result)
        return result

    def _record(self, func: Any, arguments: Any, result: Any) -> None:
        name = func.overloadpacket.__name__
        taken = [leaf for leaf in tree_leaves(arguments) if isinstance(leaf, Tensor)]
        given = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        operation = Operation(
            place=len(self._trace.operations),
            name=name,
            module=self._modules[-1],
            is_pointwise=torch.Tag.pointwise in func.tags or name in _POINTWISE,
            arguments=tree_map(
                lambda leaf: self._value(leaf) if isinstance(leaf, Tensor) else leaf, arguments[0]
            ),
            taken=tuple(map(self._value, taken)),
            given=tuple(map(self._value, given)),
        )
        self._trace.operations.append(operation)
        if any(value.memory in self._of_image for value in operation.taken):
            self._of_image.update(value.memory for value in operation.given)
            if torch.Tag.data_dependent_output in func.tags or not given:
                self.read()
            elif torch.Tag.dynamic_output_shape in func.tags:
                is_by_place = name == "index" and not any(
                    tensor.dtype in (torch.bool, torch.uint8) for tensor in taken[1:]
                )
                if not is_by_place:
                    self.read()

    def _value(self, tensor: Tensor) -> Value:
        return Value(self._memory(tensor), tuple(tensor.shape))

    def _memory(self, tensor: Tensor) -> int:
        with torch._C.DisableTorchFunctionSubclass():
            storage = tensor.untyped_storage()
        address = storage._cdata
        if address not in self._numbers:
            self._numbers[address] = len(self._numbers)
            self._alive.append(storage)
        return self._numbers[address]


class _Reads(TorchFunctionMode):
    """Notes where numbers leave tensors without an operation."""

    def __init__(self, recorder: _Recorder) -> None:
        super().__init__()
        self._recorder = recorder

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func in _READS and self._recorder.is_of_image(args[0]):
            self._recorder.read()
        return func(*args, **(kwargs or {}))
