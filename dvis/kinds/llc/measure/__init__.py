"""The local learning coefficient by Langevin dynamics: one model in, traces of chains out."""

from dvis.kinds.llc.measure.estimate import estimate
from dvis.kinds.llc.measure.measurement import ChainTask, LocalLearning, StartTask
from dvis.kinds.llc.measure.samples import Samples, samples_of

__all__ = ["ChainTask", "LocalLearning", "Samples", "StartTask", "estimate", "samples_of"]
