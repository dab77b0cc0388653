"""Which loss it is, as a store keeps it: the name of a function, and the user's own tag.

A store grows by chains of the loss that it began with. What a function does cannot be told from
outside, and its code looks different to each version of Python: the one who wrote it says so.
"""

from types import BuiltinFunctionType, FunctionType, MethodType

from dvis.kinds.llc.measure.losses import Loss, loss_name

TAG = "dvis_tag"


def loss_identity(loss: str | Loss) -> dict[str, str]:
    """What a store keeps of a loss: `loss`, and of a callable `loss_tag`.

    Two losses of one name and one tag count as the same: whoever changes what a loss computes
    gives it another tag, by an attribute of the callable.

    Parameters
    ----------
    loss : str or callable
        A name, or a callable. A function of a module or class has a name of its own, and needs a
        tag only when it changes; a lambda, a function within another one, a partial, a method of
        an object and an object with `__call__` share their names with others, and need one.

    Returns
    -------
    dict of str to str
        `loss` is the name, or `module:qualname`; `loss_tag` is the tag, "" where there is none.

    Raises
    ------
    ValueError
        When a loss without a name of its own has no tag.
    TypeError
        When the tag is no text.

    Examples
    --------
    >>> loss_identity("mse")
    {'loss': 'mse'}
    >>> worst = lambda model, batch: (model(batch[0]) - batch[1]).abs().amax(1)
    >>> worst.dvis_tag = "largest error"
    >>> loss_identity(worst)["loss_tag"]
    'largest error'
    """
    if isinstance(loss, str):
        return {"loss": loss}
    name, tag = loss_name(loss), getattr(loss, TAG, "")
    if not isinstance(tag, str):
        raise TypeError(
            f"The loss {name} has the {TAG} {tag!r}, of type {type(tag).__name__}; give a text, "
            'such as "v2"'
        )
    if not tag and not _has_own_name(loss):
        raise ValueError(
            f"The loss {name} shares that name with others, and the store could not tell them "
            f'apart. Tag it, loss.{TAG} = "v1", and anew when it changes; or give a function that '
            "stands in a module"
        )
    return {"loss": name, "loss_tag": tag}


def _has_own_name(loss: Loss) -> bool:
    """Whether `module:qualname` means this callable and no other."""
    if isinstance(loss, MethodType):
        return isinstance(loss.__self__, type)  # a method of a class, not of one of its objects
    is_function = isinstance(loss, FunctionType | BuiltinFunctionType)
    return is_function and "<" not in loss.__qualname__  # <lambda>, <locals>
