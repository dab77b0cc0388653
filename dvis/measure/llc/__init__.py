"""The local learning coefficient by Langevin dynamics: one model in, traces of chains out."""

from dvis.measure.llc.estimate import estimate
from dvis.measure.llc.measurement import ChainTask, LocalLearning, StartTask
from dvis.measure.llc.samples import Samples, samples_of

__all__ = ["ChainTask", "LocalLearning", "Samples", "StartTask", "estimate", "samples_of"]
