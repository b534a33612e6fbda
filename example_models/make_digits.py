"""A small convolutional network, really trained on scikit-learn's digits, and real images to test it.

Needs: pip install torch scikit-learn pnnx
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pnnx
import torch
from record_goldens import record
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

EPOCHS = 60
IMAGES = 3


def data() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Training and test images, (n, 1, 8, 8) in 0..1, and their digits."""
    digits = load_digits()
    images = (digits.images[:, None] / 16.0).astype(np.float32)
    parts = train_test_split(images, digits.target, test_size=0.25, random_state=0)
    train_x, test_x, train_y, test_y = map(torch.from_numpy, parts)
    return train_x, train_y, test_x, test_y


def train(model: nn.Module, epochs: int) -> float:
    """Train in place; returns the share of test images it gets right."""
    train_x, train_y, test_x, test_y = data()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        for batch in torch.randperm(len(train_x)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(train_x[batch]), train_y[batch]).backward()
            optimizer.step()
        schedule.step()
    model.eval()
    with torch.no_grad():
        return float((model(test_x).argmax(1) == test_y).float().mean())


class Classifier(nn.Module):
    """A trained network and the Softmax it was trained without. pnnx wants names for its parts."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.softmax = nn.Softmax(1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.softmax(self.network(image))


def export(network: nn.Module, name: str) -> None:
    """Write example_models/NAME/NAME.param and .bin with pnnx, weights in fp32, and what it gives.

    recorded.npz has test images, (1, 8, 8) in 0..1, and the network's outputs for them.
    """
    model = Classifier(network).eval()
    folder = Path(__file__).parent / name
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        stem = Path(scratch) / name
        pnnx.export(model, str(stem.with_suffix(".pt")), torch.rand(1, 1, 8, 8), fp16=False)
        for suffix in ("param", "bin"):
            shutil.copy(f"{stem}.ncnn.{suffix}", folder / f"{name}.{suffix}")
    images = data()[2][:IMAGES].numpy()
    record(model, {f"image{i}": [image] for i, image in enumerate(images)}, folder / "recorded.npz")


def build() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1, groups=16),
        nn.Conv2d(16, 32, 1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 32, 3, padding=1),
        nn.Hardswish(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 10),
    )


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = build()
    print(f"right on {train(model, EPOCHS):.1%} of the test images")
    export(model, "digits")
