"""Annotations, with the shapes in them, are checked while the tests run, of each kind of definition."""

from dataclasses import dataclass
from typing import Literal

import pytest
import torch
from beartype import beartype
from jaxtyping import Float, Int, TypeCheckError
from torch import Tensor

from hybrid_asr.common.masks import valid_mask
from hybrid_asr.losses import joint_loss
from tests.type_checks import checked

check = checked(typechecker=beartype)


def test_a_wrong_shape_or_type_is_refused():
    """In the package itself: a size that an argument gives, sizes that must agree, and no array at all."""
    assert valid_mask(torch.tensor([1, 2]), 2).tolist() == [[True, False], [True, True]]
    for wrong in (torch.tensor([[1, 2]]), torch.tensor([1.0, 2.0])):
        with pytest.raises(TypeCheckError):
            valid_mask(wrong, 2)
    losses, lengths, feasible = torch.ones(2), torch.tensor([3, 4]), torch.tensor([True, True])
    joint_loss(losses, losses, feasible, ctc_weight=0.5)
    for wrong in (torch.ones(3), torch.ones(2, 1), lengths):
        with pytest.raises(TypeCheckError):
            joint_loss(losses, wrong, feasible, ctc_weight=0.5)
    with pytest.raises(TypeCheckError):
        joint_loss(losses, losses, feasible, ctc_weight="half")


@check
def outer(rows: Float[Tensor, " a"], columns: Float[Tensor, " b"], order: Literal["ab", "ba"]) -> Float[Tensor, "a b"]:
    product = rows[:, None] * columns
    return product if order == "ab" else product.T


@check
def first(tensors: "list[Float[Tensor, ' a']]", other: Float[Tensor, " a"] | None = None) -> Tensor:
    return tensors[0]


@check
@dataclass(frozen=True)
class Lines:
    values: Float[Tensor, "lines size"]
    lengths: Int[Tensor, " lines"]
    name: str

    @property
    @check
    def size(self) -> int:
        return self.name if self.name else 3  # pyright: ignore


def test_each_kind_of_definition_is_checked():
    two, three = torch.ones(2), torch.ones(3)
    assert outer(two, three, "ab").shape == (2, 3)
    with pytest.raises(TypeCheckError):
        outer(two, three, "ba")  # what it returns
    with pytest.raises(TypeCheckError):
        outer(two, three, "cd")  # pyright: ignore
    assert first([two], two) is two
    with pytest.raises(TypeCheckError):
        first([two], three)
    lines = Lines(torch.ones(2, 3), torch.tensor([1, 2]), "")
    assert lines.size == 3
    for arguments in ((torch.ones(2, 3), torch.tensor([1]), ""), (torch.ones(2, 3), torch.tensor([1, 2]), 7)):
        with pytest.raises(TypeCheckError):
            Lines(*arguments)
    with pytest.raises(TypeCheckError):
        _ = Lines(torch.ones(2, 3), torch.tensor([1, 2]), "text").size


def test_names_of_sizes_hold_in_one_call_alone():
    """A call within a call has names of its own, and the outer ones stand again when it has returned."""

    @check
    def within(values: Float[Tensor, " a"], depth: int) -> Float[Tensor, " a"]:
        if depth:
            within(torch.ones(depth), depth - 1)
        return values

    assert within(torch.ones(5), 3).shape == (5,)
