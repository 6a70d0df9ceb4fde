"""Makes ctc.json: random CTC cases with the loss and derivative by the logits that PyTorch 2.15 computes in f64."""
import json
from pathlib import Path

import torch

torch.manual_seed(1)
cases = []
for n_frames, n_classes, letters, blank in [
    (1, 3, [2], 0),
    (7, 5, [1, 1, 1, 4], 0),
    (12, 6, [], 5),
    (12, 6, [0, 3, 3, 2], 5),
    (20, 29, [4, 7, 7, 11, 14], 28),
    (40, 29, [1, 2, 1, 2, 3, 3, 3, 0, 27, 0], 28),
]:
    logits = (3 * torch.randn(n_frames, 1, n_classes)).round(decimals=4).double().requires_grad_()
    loss = torch.nn.functional.ctc_loss(
        logits.log_softmax(2), torch.tensor([letters], dtype=torch.long), [n_frames], [len(letters)], blank=blank, reduction="sum"
    )
    loss.backward()
    cases.append(
        {
            "n_classes": n_classes,
            "blank": blank,
            "letters": letters,
            "logits": [round(x, 4) for x in logits.flatten().tolist()],
            "loss": loss.item(),
            "derivative": [round(x, 7) for x in logits.grad.flatten().tolist()],
        }
    )
Path(__file__).with_name("ctc.json").write_text("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")
