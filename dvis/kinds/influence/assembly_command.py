"""The command `assembly`."""

from tyro.conf import Positional

from dvis.analysis.births import births
from dvis.kinds.influence.analysis.assembly import assembly as assembly_of
from dvis.kinds.influence.analysis.assembly_text import assembly_table
from dvis.kinds.influence.analysis.association import Null
from dvis.kinds.influence.read import influence
from dvis.kinds.responses.read import responses as responses_of


def assembly(
    store: Positional[str],
    *,
    run: str | None = None,
    name: str | None = None,
    responses: str | None = None,
    fraction: float = 0.5,
    k: int = 8,
    null: Null = "births",
    n_permutations: int = 999,
    seed: int = 0,
) -> int:
    """Whether units are born together with what influences them, each number beside its null.

    Parameters
    ----------
    store
        A store's folder or URL, with influence and with responses to other images.
    run
        Training run (default: the first that has influence).
    name
        Which influence (default: the only one).
    responses
        Which responses births are taken of (default: the only ones).
    fraction
        A unit is born when its responses correlate so much with its final ones, for good.
    k
        Top inputs of each unit.
    null
        What is permuted: births of sources, or residuals of births (MRQAP-DSP).
    n_permutations
        Permutations.
    seed
        Seed of permutations and samples.
    """
    of_units = responses_of(store, run, responses)
    born = births(of_units, measure="correlation", fraction=fraction)
    found = assembly_of(
        influence(store, run, name),
        born,
        k=k,
        null=null,
        n_permutations=n_permutations,
        seed=seed,
    )
    print(assembly_table(found))
    return 0
