"""PyTorch and Captum as a process that stays: reads a call a line, answers with its time and where its answer is."""
import json
import sys
import time

import captum.attr
import numpy as np
import torch
import zennit.attribution
import zennit.canonizers
import zennit.composites

import lucent
import networks

FRAMES_MEASURED = 10
DEVICE = sys.argv[1] if len(sys.argv) > 1 else "cpu"


def class_sum(module, of_class):
    """The score that the daemon explains: the class's output, summed over frames where there are some."""

    def score(x):
        output = module(x)
        return output[:, of_class].sum(-1) if output.dim() == 3 else output[:, of_class]

    return score


def score_at(output, target):
    return output[0, target["class"], target["frame"]] if "frame" in target else output[0, target["class"]]


def forward(module, x, _):
    with torch.inference_mode():
        return module(x)


def saliency(module, x, call):
    target = call["target"]
    if "frame" in target:
        return captum.attr.Saliency(module).attribute(x, (target["class"], target["frame"]), abs=False)
    return captum.attr.Saliency(class_sum(module, target["class"])).attribute(x, abs=False)


def targets(module, x, call):
    x = x.clone().requires_grad_()
    output = module(x)
    of_targets = [torch.autograd.grad(score_at(output, target), x, retain_graph=True)[0] for target in call["targets"]]
    return torch.cat(of_targets)


def grad_cam(module, x, call):
    score = class_sum(module, call["target"]["class"])
    layer = networks.layer(module, call["network"], call["layer"])
    return captum.attr.LayerGradCam(score, layer).attribute(x, relu_attributions=True)


def guided_backprop(module, x, call):
    # Captum wants the module itself; for a sequence the score is brought into one.
    wrapped = Summed(module, call["target"]["class"]) if call["network"] == "W" else module
    target = None if call["network"] == "W" else call["target"]["class"]
    return captum.attr.GuidedBackprop(wrapped).attribute(x, target)


class Summed(torch.nn.Module):
    def __init__(self, module, of_class):
        super().__init__()
        self.module, self.of_class = module, of_class

    def forward(self, x):
        return self.module(x)[:, self.of_class].sum(-1)


def activations(module, x, _):
    kept = []
    leaves = [layer for layer in module.modules() if not list(layer.children())]
    hooks = [layer.register_forward_hook(lambda _layer, _inputs, output: kept.append(output)) for layer in leaves]
    with torch.inference_mode():
        output = module(x)
    for hook in hooks:
        hook.remove()
    return output


def frame_gradients(module, x, call):
    """Some of the backward walks; the caller scales."""
    kept = {}
    hooks = [
        networks.layer(module, "W", name).register_forward_hook(
            lambda _layer, _inputs, output, name=name: kept.__setitem__(name, output)
        )
        for name in call["layers"]
    ]
    output = module(x.clone().requires_grad_())
    for hook in hooks:
        hook.remove()
    started = time.perf_counter()
    for target in call["targets"][:: len(call["targets"]) // FRAMES_MEASURED][:FRAMES_MEASURED]:
        gradients = torch.autograd.grad(score_at(output, target), [kept[name] for name in call["layers"]], retain_graph=True)
    elapsed = (time.perf_counter() - started) / FRAMES_MEASURED
    return gradients[0], elapsed * len(call["targets"])


def lrp(module, x, call):
    of_class = call["target"]["class"]
    # What stands before the softmax is explained.
    explained = module.acoustic_model if call["network"] == "W" else module
    composite = zennit.composites.EpsilonPlus(canonizers=[zennit.canonizers.SequentialMergeBatchNorm()])

    def of_class_alone(output):
        relevance = torch.zeros_like(output)
        relevance[:, of_class] = output[:, of_class]
        return relevance

    with zennit.attribution.Gradient(model=explained, composite=composite) as attributor:
        _, relevance = attributor(x, of_class_alone)
    return relevance


def integrated_gradients(module, x, call):
    score = lambda x: torch.stack([score_at(output[None], call["target"]) for output in module(x)])
    return captum.attr.IntegratedGradients(score).attribute(x, n_steps=50, internal_batch_size=10)


def objective_gradient(module, x, call):
    x = x.clone().requires_grad_()
    lucent.up_to(networks.layer(module, call["network"], call["layer"]), module, x)[:, call["channel"]].mean().backward()
    return x.grad


def maximize(module, x, call):
    layer = networks.layer(module, call["network"], call["layer"])
    make = lucent.Spectrogram if call["network"] == "W" else lucent.Photo
    return lucent.maximize(make(x.shape), module, layer, call["channel"], call["steps"])


CALLS = {
    "forward": forward,
    "saliency": saliency,
    "targets": targets,
    "grad_cam": grad_cam,
    "guided_backprop": guided_backprop,
    "activations": activations,
    "frame_gradients": frame_gradients,
    "lrp": lrp,
    "integrated_gradients": integrated_gradients,
    "objective_gradient": objective_gradient,
    "maximize": maximize,
}


def main():
    torch.set_num_threads(2)
    # Full single precision on both sides.
    torch.backends.cudnn.allow_tf32 = False
    modules = {}
    for line in sys.stdin:
        call = json.loads(line)
        name = call["network"]
        if name not in modules:
            modules[name] = networks.load(name).to(DEVICE)
        module = modules[name]
        x = torch.from_numpy(np.concatenate([np.load(path) for path in call["inputs"]]))
        started = time.perf_counter()
        answer = CALLS[call["call"]](module, x.to(DEVICE), call)
        if DEVICE != "cpu":
            # An answer counts once it is here, as the daemon's does.
            answer = (answer[0].cpu(), answer[1]) if isinstance(answer, tuple) else answer.detach().cpu()
        seconds = time.perf_counter() - started
        if isinstance(answer, tuple):
            answer, seconds = answer
        if call.get("keep"):
            np.save(call["keep"], answer.detach().numpy())
        print(json.dumps({"seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
