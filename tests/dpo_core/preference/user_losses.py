"""Losses as a user may write them, right and wrong."""

from torch import Tensor
from torch.nn import functional as F

from dpo_core.loss_options import LossOptions
from dpo_core.preference.loss_functions import Terms


def sigmoid(terms: Terms, options: LossOptions) -> Tensor:
    """DPO, as in LOSSES."""
    return -F.logsigmoid(options.beta * terms.margin)


def averaged(terms: Terms, options: LossOptions) -> Tensor:
    return sigmoid(terms, options).mean()


def centred(terms: Terms, options: LossOptions) -> Tensor:
    """Depends on the other pairs of its batch."""
    margin = terms.margin - terms.margin.mean()
    return -F.logsigmoid(options.beta * margin)


def detached(terms: Terms, options: LossOptions) -> Tensor:
    return sigmoid(terms, options).detach()
