"""The sheets of docs/visualization.md, asked of a daemon of our own.

usage: sheets.py PRIOR
"""
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts" / "benchmarks"))
from daemon import Daemon, numbers  # noqa: E402

FOLDER = ROOT / "docs" / "visualization"
MODEL, STEPS, SEED = "efficientnet-lite0", 128, 1
CELL, CAPTION = 168, 14

CHANNEL = {"kind": "channel", "layer": "blocks.10", "channel": 20}
LOGIT = {"kind": "logit", "class": "dalmatian"}

# What is free are pixels, and each remedy stands alone, so that one sees what it does.
BARE = {"parameterization": "pixels", "transforms": []}
REMEDIES = [
    ("no regularisation", {}),
    ("frequency penalty", {"regularizers": {"frequency": 5.0}}),
    ("transformations", {"transforms": ["standard"]}),
    ("learned prior", {"prior": {"source": "prior", "weight": 2.0}}),
]
OBJECTIVES = [
    ("neuron", {"kind": "neuron", "layer": "blocks.10", "channel": 3}),
    ("channel", {"kind": "channel", "layer": "blocks.10", "channel": 3}),
    ("layer (DeepDream)", {"kind": "layer", "layer": "blocks.10"}),
    ("logit of dalmatian", LOGIT),
    ("its probability", {**LOGIT, "kind": "probability"}),
]


def picture(client, objective, is_stretched=False, **more):
    """What an ascent finds; stretched to its own darkest and lightest where pictures of unlike contrast stand side by side."""
    answer = client.ask("visualization.maximize", model=MODEL, objective=objective, **{"steps": STEPS, "seed": SEED, **more})
    low, high = np.array(answer["settings"]["value_range"]).T[..., None, None]
    share = (numbers(answer["tensor"]) - low) / (high - low)
    if is_stretched:
        low, high = np.percentile(share, [0.5, 99.5])
        share = (share - low) / (high - low)
    print(f"{objective} {more}: {answer['values'][0]:.3g} to {answer['value']:.3g}", flush=True)
    return Image.fromarray((255 * share.clip(0, 1)).round().astype(np.uint8).transpose(1, 2, 0))


def sheet(rows, file):
    """Rows of captions and pictures, in 256 colours."""
    width, height = CELL * max(len(row) for row in rows), (CELL + CAPTION) * len(rows)
    canvas = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(canvas)
    for nth_row, row in enumerate(rows):
        for nth, (caption, found) in enumerate(row):
            x, y = nth * CELL, nth_row * (CELL + CAPTION)
            draw.text((x + 2, y + 1), caption, fill="black")
            canvas.paste(found.resize((CELL - 2, CELL - 2), Image.Resampling.LANCZOS), (x, y + CAPTION))
    canvas.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(FOLDER / file, optimize=True)
    print(f"wrote {FOLDER / file}: {(FOLDER / file).stat().st_size // 1000} kB")


def main(prior):
    FOLDER.mkdir(exist_ok=True)
    with Daemon() as daemon:
        client = daemon.client()
        client.ask("model.load", source=MODEL)
        named = {} if prior.endswith(".onnx") else {"architecture": "denoising-autoencoder"}
        client.ask("model.load", source=prior, name="prior", description={"value_range": [0, 1], **named})
        sheet(
            [[(name, picture(client, objective, is_stretched=True, **{**BARE, **more})) for name, more in REMEDIES] for objective in (CHANNEL, LOGIT)],
            "remedies.png",
        )
        sheet([[(name, picture(client, objective)) for name, objective in OBJECTIVES]], "objectives.png")


if __name__ == "__main__":
    main(str(Path(sys.argv[1]).resolve()))
