"""Encoders of timm, segmentation-models-pytorch and transformers, with weights drawn at random."""

import importlib
import subprocess
import sys

import pytest

PACKAGES = ("torchvision", "timm", "segmentation_models_pytorch", "transformers")


@pytest.mark.parametrize("name", PACKAGES)
def test_the_package_can_be_imported_here(name):
    importlib.import_module(name)


def test_alseg_imports_none_of_them():
    code = "import sys, alseg; from alseg import *; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "skorch" in done.stdout
    assert not {*PACKAGES} & {*done.stdout.split()}
