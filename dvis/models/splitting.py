"""Which weights of a model work until a layer has given its output, and which after that.

A model, layers and an image in; names of parameters and buffers out, by the order in which
operations take them, so that also what a module holds that runs on both sides has its place.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from dvis.models.forward_trace import ForwardTrace, Operation, trace_forward

_NO_USE = {"detach", "alias"}  # the same tensor under another name
_SHOWN_NAMES = 5


@dataclass(frozen=True, kw_only=True)
class Split:
    """A model in two parts, at the output of a layer.

    Parameters
    ----------
    below : frozenset of str
        Names of parameters and buffers, as a state dict has them, that work until the layer has
        given its output.
    is_cut : bool
        Whether all that comes later is made of that output; else some goes around it, as over a
        skip connection.
    """

    below: frozenset[str]
    is_cut: bool


def splits(
    model: nn.Module, cuts: Sequence[str], calls: Mapping[str, int], image: Tensor
) -> dict[str, Split]:
    """A model in two parts at each of some layers, as seen by the layers that are looked at.

    Parameters
    ----------
    model : nn.Module
        The model in eval mode.
    cuts : sequence of str
        Layers at whose outputs it is split.
    calls : mapping of str to int
        All layers that are looked at, the cuts among them, and how often each runs in a whole pass:
        a layer gives its output at its last call.
    image : Tensor, (1, channel, y, x)
        An image.

    Raises
    ------
    ValueError
        When weights work on both sides of a cut, or the order in which weights work depends on the
        image or cannot be followed.
    """
    traces = {layer: _followed(model, layer, n, image) for layer, n in calls.items()}
    state = model.state_dict()
    weights = {name for name, value in state.items() if value.is_floating_point()}
    found = {}
    for cut in cuts:
        until, n_before = traces[cut], len(traces[cut].operations)
        below = _used(until, until.operations)
        above = {
            name for trace in traces.values() for name in _used(trace, trace.operations[n_before:])
        }
        if both := sorted(below & above & weights):
            shown = ", ".join(both[:_SHOWN_NAMES]) + (", ..." if len(both) > _SHOWN_NAMES else "")
            raise ValueError(
                f"{len(both)} weights of {type(model).__name__} work on both sides of {cut!r}: "
                f"{shown}. Take a layer before or behind all modules that share them"
            )
        is_around = any(_goes_around(until, cut, trace, n_before) for trace in traces.values())
        found[cut] = Split(below=frozenset(below & state.keys()), is_cut=not is_around)
    return found


def _followed(model: nn.Module, layer: str, n_calls: int, image: Tensor) -> ForwardTrace:
    # Of one layer at a time: outputs kept of others would be operations too, and shift places.
    trace = trace_forward(model, {layer: n_calls}, image)
    if not trace.is_fixed:
        raise ValueError(
            f"the order in which weights of {type(model).__name__} work until {layer!r} depends on "
            "the image, or is a compiled program's, which cannot be followed; give a plain module"
        )
    return trace


def _used(trace: ForwardTrace, operations: Sequence[Operation]) -> set[str]:
    """Names of parameters and buffers that some of a trace's operations take."""
    taken = {
        value.memory
        for operation in operations
        if operation.name not in _NO_USE
        for value in operation.taken
    }
    return {name for name, memory in trace.memories.items() if memory in taken}


def _goes_around(until: ForwardTrace, cut: str, trace: ForwardTrace, n_before: int) -> bool:
    """Whether later operations take what was made of the image before, beside the cut's output.

    Memories are numbered as they come, so that two traces of a model number them alike.
    """
    before = until.of_image() - {until.outputs[cut].memory}
    return any(
        value.memory in before
        for operation in trace.operations[n_before:]
        if operation.name not in _NO_USE
        for value in operation.taken
    )
