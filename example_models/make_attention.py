"""A small vision transformer, trained on scikit-learn's digits: LayerNorm, Gemm, Softmax, GELU.

Needs: pip install torch scikit-learn pnnx
"""

from __future__ import annotations

import torch
from make_digits import export, train
from torch import nn

WIDTH = 32
HEADS = 4
EPOCHS = 60


class Block(nn.Module):
    """Attention and a perceptron, each behind a LayerNorm and beside a residual."""

    def __init__(self) -> None:
        super().__init__()
        self.before_attention = nn.LayerNorm(WIDTH)
        self.query, self.key, self.value, self.join = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.before_mlp = nn.LayerNorm(WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.before_attention(x)
        query, key, value = (
            layer(y).reshape(y.size(0), -1, HEADS, WIDTH // HEADS).permute(0, 2, 1, 3)
            for layer in (self.query, self.key, self.value)
        )
        weights = (query @ key.transpose(2, 3) * (WIDTH // HEADS) ** -0.5).softmax(-1)
        x = x + self.join((weights @ value).permute(0, 2, 1, 3).reshape(x.size(0), -1, WIDTH))
        return x + self.mlp(self.before_mlp(x))


class Transformer(nn.Module):
    """16 patches of 2 x 2 pixels, two blocks, the mean of the tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, WIDTH, 2, 2)
        self.place = nn.Parameter(torch.randn(1, 16, WIDTH) * 0.1)
        self.blocks = nn.Sequential(Block(), Block())
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.patches(image).flatten(2).permute(0, 2, 1) + self.place
        return self.head(self.norm(self.blocks(x)).mean(1))


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = Transformer()
    print(f"right on {train(model, EPOCHS):.1%} of the test images")
    export(model, "attention")
