"""Train the small vision transformer of the demo on Fashion-MNIST and write ``xai_widgets/_fashion.pt``.

    apt-get install dataset-fashion-mnist
    python scripts/train_fashion_vit.py

Twenty-five minutes on one core. Seeded; the last digits of the weights depend on the processor all the same.
"""

from __future__ import annotations

import argparse
import gzip
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from xai_widgets import _fashion

BATCH, RATE, DECAY, SHIFT = 128, 2e-3, 0.05, 2


def read(folder: Path, split: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures uint8 (n, 28, 28) and labels (n,) of "train" or "t10k", in the files' own format."""
    pixels = gzip.decompress((folder / f"{split}-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((folder / f"{split}-labels-idx1-ubyte.gz").read_bytes())
    pictures = np.frombuffer(pixels, np.uint8, offset=16).reshape(-1, 28, 28)
    return torch.from_numpy(pictures.copy()), torch.from_numpy(np.frombuffer(labels, np.uint8, offset=8).astype(int))


def encode(pictures: torch.Tensor) -> torch.Tensor:
    """What `_fashion.Preprocess` does, for a batch of bytes."""
    return ((pictures[:, None] / 255 - 0.5) / 0.5).expand(-1, 3, -1, -1)


def augment(pictures: torch.Tensor) -> torch.Tensor:
    """Each flipped or not, the batch moved by up to two pixels."""
    flip = torch.rand(len(pictures), 1, 1) < 0.5
    pictures = torch.where(flip, pictures.flip(2), pictures)
    dy, dx = torch.randint(0, 2 * SHIFT + 1, (2,)).tolist()
    return functional.pad(pictures, (SHIFT,) * 4)[:, dy : dy + 28, dx : dx + 28]


@torch.no_grad()
def predict(net: torch.nn.Module, pictures: torch.Tensor) -> torch.Tensor:
    """Classes (n,)."""
    return torch.cat([net(encode(chunk)).argmax(1) for chunk in pictures.split(500)])


def main() -> None:
    """Train, round to half precision, measure on the held-out split, save."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--out", type=Path, default=_fashion.FILE)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    pictures, labels = read(given.data, "train")
    held_out, truth = read(given.data, "t10k")
    net = _fashion.network()
    print(f"{sum(p.numel() for p in net.parameters()):,} parameters")
    optimiser = torch.optim.AdamW(net.parameters(), RATE, weight_decay=DECAY)
    steps = given.epochs * -(-len(pictures) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, steps)
    start = time.time()
    for epoch in range(given.epochs):
        net.train()
        for chosen in torch.randperm(len(pictures)).split(BATCH):
            loss = functional.cross_entropy(net(encode(augment(pictures[chosen]))), labels[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        net.eval()
        right = (predict(net, held_out) == truth).double().mean()
        print(f"epoch {epoch + 1}: loss {loss:.3f}, held-out {right:.4f}, {time.time() - start:.0f} s", flush=True)
    weights = {name: value.half() for name, value in net.state_dict().items()}
    net.load_state_dict({name: value.float() for name, value in weights.items()})
    found = predict(net, held_out)
    print(f"in half precision: held-out {(found == truth).double().mean():.4f}")
    # The first picture of each class, whether it is known or not, and the first two that are mistaken.
    shown = [int((truth == number).nonzero()[0]) for number in range(len(_fashion.NAMES))]
    wrong = [number for number in (found != truth).nonzero().flatten().tolist() if number not in shown]
    shown += wrong[:2]
    print("shown:", shown, "truth:", truth[shown].tolist(), "found:", found[shown].tolist())
    torch.save({"weights": weights, "pictures": held_out[shown], "labels": truth[shown].tolist()}, given.out)


if __name__ == "__main__":
    main()
