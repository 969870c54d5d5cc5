"""Devices by their names; what is not here is named with what is."""

import pytest
import torch

from hybrid_asr.common.errors import UserError
from hybrid_asr.inference.device import pick_device

WITHOUT_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")


def test_the_cpu_is_always_there():
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device().type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["tpu", "cud", "mps", "meta", "", "cpu:1", "cuda:x", "CUDA"])
def test_an_unknown_device_is_named(name):
    with pytest.raises(UserError, match=f"device '{name}': there is no such device; use 'auto', 'cpu', 'cuda'"):
        pick_device(name)


def test_a_gpu_goes_by_cuda():
    with pytest.raises(UserError, match=r"device 'gpu': .* a GPU is called 'cuda'"):
        pick_device("gpu")


@WITHOUT_GPU
@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:7"])
def test_a_gpu_that_is_not_here_is_told_with_the_remedy(name):
    with pytest.raises(UserError, match=rf"device '{name}': .*PyTorch.*; use 'cpu', or 'auto'"):
        pick_device(name)
