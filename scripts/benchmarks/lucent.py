"""Feature visualisation in PyTorch as lucent does it (its parameterisation, transforms and optimiser), up to a layer."""
import random

import torch
from torch import nn

COLORS = torch.tensor([[0.26, 0.09, 0.02], [0.27, 0.0, -0.05], [0.27, -0.09, 0.03]])
COLORS = COLORS / COLORS.norm(dim=0).max()


class Reached(Exception):
    """Ends a forward pass at a layer."""


def up_to(layer, module, x):
    """The layer's output; nothing behind it is computed."""
    kept = []

    def keep(_layer, _inputs, output):
        kept.append(output)
        raise Reached

    hook = layer.register_forward_hook(keep)
    try:
        module(x)
    except Reached:
        pass
    finally:
        hook.remove()
    return kept[0]


class Photo:
    """A photo as a spectrum with independent colours, within 0 and 1; what the network sees lies within -1 and 1."""

    def __init__(self, shape):
        *_, rows, columns = shape
        self.size = (rows, columns)
        along_rows, along_columns = torch.fft.fftfreq(rows)[:, None], torch.fft.rfftfreq(columns)
        frequency = (along_rows**2 + along_columns**2).sqrt().clamp(min=1 / max(rows, columns))
        self.scale = (1 / frequency)[None, None]
        self.spectrum = torch.complex(*(0.01 * torch.randn(2, 1, 3, rows, columns // 2 + 1))).requires_grad_()

    def parameters(self):
        return [self.spectrum]

    def picture(self):
        image = torch.fft.irfft2(self.scale * self.spectrum, s=self.size, norm="ortho") / 4
        return torch.einsum("rc,bchw->brhw", COLORS, image).sigmoid()

    def seen(self, image):
        image = nn.functional.pad(image, [12] * 4, value=0.5)
        image = jittered(image, 8)
        image = scaled(image, random.choice([1 + (nth - 5) / 50 for nth in range(11)]))
        image = rotated(image, random.choice(list(range(-10, 11)) + 5 * [0]))
        image = jittered(image, 4)
        return 2 * fitted(image, self.size) - 1


class Spectrogram:
    """A spectrogram as a spectrum, any numbers; moved a little along time and frequency."""

    def __init__(self, shape):
        *_, rows, columns = shape
        self.size = (rows, columns)
        along_rows = torch.fft.fftfreq(rows).abs()[:, None].clamp(min=1 / rows)
        along_columns = torch.fft.rfftfreq(columns).clamp(min=1 / columns)
        self.scale = (along_rows**-0.5 * along_columns**-0.5)[None]
        self.spectrum = torch.complex(*(0.01 * torch.randn(2, 1, rows, columns // 2 + 1))).requires_grad_()

    def parameters(self):
        return [self.spectrum]

    def picture(self):
        return torch.fft.irfft2(self.scale * self.spectrum, s=self.size, norm="ortho") / 4

    def seen(self, spectrogram):
        padded = nn.functional.pad(spectrogram, [8, 8, 1, 1])
        row, column = random.randint(0, 2), random.randint(0, 16)
        return padded[..., row : row + self.size[0], column : column + self.size[1]]


def jittered(image, places):
    row, column = random.randint(0, places), random.randint(0, places)
    rows, columns = image.shape[-2:]
    return image[..., row : row + rows - places, column : column + columns - places]


def scaled(image, factor):
    return nn.functional.interpolate(image, scale_factor=factor, mode="bilinear", align_corners=False)


def rotated(image, degrees):
    angle = torch.deg2rad(torch.tensor(float(degrees)))
    turn = torch.stack([torch.cos(angle), -torch.sin(angle), torch.zeros(()), torch.sin(angle), torch.cos(angle), torch.zeros(())])
    grid = nn.functional.affine_grid(turn.view(1, 2, 3), list(image.shape), align_corners=False)
    return nn.functional.grid_sample(image, grid, align_corners=False)


def fitted(image, size):
    """Cut or padded at its centre."""
    above, before = ((to - of) // 2 for of, to in zip(image.shape[-2:], size))
    below, behind = (to - of - start for of, to, start in zip(image.shape[-2:], size, (above, before)))
    return nn.functional.pad(image, [before, behind, above, below], value=0.5)


def maximize(picture, module, layer, channel, steps):
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    optimizer = torch.optim.Adam(picture.parameters(), lr=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = -up_to(layer, module, picture.seen(picture.picture()))[:, channel].mean()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return picture.picture()
